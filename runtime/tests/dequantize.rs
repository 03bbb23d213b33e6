//! Each block type against an independent implementation's values (fixtures/ggml_blocks.py).

use inferno_runtime::weights::{Bytes, Matrix, WeightDtype};
use safetensors::SafeTensors;

const FIXTURE: &[u8] = include_bytes!("fixtures/ggml_blocks.safetensors");

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

#[test]
fn every_block_type_dequantizes_to_the_values_of_gguf_py() {
    let fixture = SafeTensors::deserialize(FIXTURE).unwrap();
    let mut seen = 0;
    for dtype in WeightDtype::ALL
        .into_iter()
        .filter(|dtype| !dtype.is_float())
    {
        let blocks = fixture.tensor(&format!("{dtype}.blocks")).unwrap();
        let values = fixture.tensor(&format!("{dtype}.values")).unwrap();
        assert_eq!(values.shape()[1], dtype.block_len());
        assert_eq!(blocks.shape()[1], dtype.block_bytes());
        let want = floats(values.data());
        let mut got = vec![0.0; want.len()];
        dtype.dequantize(blocks.data(), &mut got).unwrap();
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            // A few units in the last place: the order of the scale products is free.
            let tolerance = 1e-6 * want.abs().max(1.0);
            assert!(
                (got - want).abs() <= tolerance,
                "{dtype} element {k}: {got} instead of {want}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 11);
}

#[test]
fn mxfp4_is_exact_down_to_subnormal_scales() {
    let fixture = SafeTensors::deserialize(FIXTURE).unwrap();
    let blocks = fixture.tensor("MXFP4.blocks").unwrap();
    let want = floats(fixture.tensor("MXFP4.values").unwrap().data());
    let mut got = vec![0.0; want.len()];
    WeightDtype::Mxfp4
        .dequantize(blocks.data(), &mut got)
        .unwrap();
    assert_eq!(got, want);
}

#[test]
fn floats_dequantize_exactly() {
    let values = [1.5_f32, -0.0, 3.140_625, f32::INFINITY, -2.0];
    let halves = values
        .iter()
        .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
        .collect::<Vec<_>>();
    let brains = values
        .iter()
        .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
        .collect::<Vec<_>>();
    for (dtype, bytes) in [(WeightDtype::F16, halves), (WeightDtype::BF16, brains)] {
        let mut got = [0.0; 5];
        dtype.dequantize(&bytes, &mut got).unwrap();
        assert_eq!(got.map(f32::to_bits), values.map(f32::to_bits), "{dtype}");
    }
}

#[test]
fn rows_of_a_quantized_matrix() {
    let fixture = SafeTensors::deserialize(FIXTURE).unwrap();
    let blocks = fixture.tensor("Q6_K.blocks").unwrap().data().to_vec();
    let want = floats(fixture.tensor("Q6_K.values").unwrap().data());
    let matrix = Matrix::new(2, 256, WeightDtype::Q6K, Bytes::from(blocks)).unwrap();
    let mut row = vec![0.0; 256];
    matrix.dequantize_rows(1..2, &mut row).unwrap();
    assert!(
        row.iter()
            .zip(&want[256..])
            .all(|(a, b)| (a - b).abs() < 1e-4)
    );
    let swapped = matrix.select_rows(&[1, 0]).unwrap();
    assert_eq!(swapped.slice_rows(0..1).unwrap().to_f32().unwrap(), row);
}
