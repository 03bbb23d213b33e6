use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn params(change: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
    let mut params = SamplingParams {
        seed: Some(7),
        ..SamplingParams::default()
    };
    change(&mut params);
    params
}

fn sampler(vocab: usize, change: impl FnOnce(&mut SamplingParams)) -> Sampler {
    Sampler::new(params(change), vocab).unwrap()
}

/// Tokens of `n` independent draws: penalties see no history because each draw has a sampler of its own seed.
fn draws(logits: &[f32], n: u64, change: impl Fn(&mut SamplingParams)) -> HashMap<u32, u64> {
    let mut counts = HashMap::new();
    let mut sampler = sampler(logits.len(), change);
    for _ in 0..n {
        *counts
            .entry(sampler.sample(logits).unwrap().token)
            .or_default() += 1;
    }
    counts
}

fn support(logits: &[f32], change: impl Fn(&mut SamplingParams)) -> Vec<u32> {
    let mut tokens: Vec<u32> = draws(logits, 3000, change).into_keys().collect();
    tokens.sort_unstable();
    tokens
}

/// The distribution by the book: sort everything, in f64.
fn reference(logits: &[f32], params: &SamplingParams) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len())
        .filter(|&i| logits[i] > f32::NEG_INFINITY)
        .collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if params.top_k > 0 {
        order.truncate(params.top_k as usize);
    }
    let max = f64::from(logits[order[0]]);
    let weight = |i: usize| ((f64::from(logits[i]) - max) / f64::from(params.temperature)).exp();
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut before = 0.0;
    order.retain(|&i| {
        let keep = before < f64::from(params.top_p) * total;
        before += weight(i);
        keep
    });
    order.retain(|&i| weight(i) >= f64::from(params.min_p));
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut distribution = vec![0.0; logits.len()];
    order
        .iter()
        .for_each(|&i| distribution[i] = weight(i) / total);
    distribution
}

/// Chi-square of 20,000 draws against the reference; the bound is far out in the tail for its degrees of freedom.
fn assert_distribution(logits: &[f32], change: impl Fn(&mut SamplingParams)) {
    let n = 20_000;
    let expected = reference(logits, &params(&change));
    let counts = draws(logits, n, change);
    let mut chi_square = 0.0;
    let mut rare = (0.0, 0.0);
    let mut cells = 0.0;
    for (token, &p) in expected.iter().enumerate() {
        let count = counts.get(&(token as u32)).copied().unwrap_or(0) as f64;
        assert!(
            p > 0.0 || count == 0.0,
            "token {token} was filtered out but came {count} times"
        );
        let expected = p * n as f64;
        if expected < 5.0 {
            rare = (rare.0 + expected, rare.1 + count);
        } else {
            chi_square += (count - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    if rare.0 > 1.0 {
        chi_square += (rare.1 - rare.0).powi(2) / rare.0;
        cells += 1.0;
    }
    assert!(
        chi_square < cells + 5.0 * (2.0f64 * cells).sqrt() + 10.0,
        "chi-square {chi_square} with {cells} cells"
    );
}

/// A few hundred logits that look like a model's.
fn typical(vocab: usize) -> Vec<f32> {
    (0..vocab)
        .map(|i| ((i * 7919 % 1000) as f32 / 1000.0 - 0.5) * 8.0)
        .collect()
}

#[test]
fn frequencies_match_the_distribution() {
    let logits = typical(300);
    assert_distribution(&logits, |_| {});
    assert_distribution(&logits, |p| p.temperature = 0.6);
    assert_distribution(&logits, |p| p.temperature = 30.0);
    assert_distribution(&logits, |p| p.top_k = 12);
    assert_distribution(&logits, |p| p.top_k = 250);
    assert_distribution(&logits, |p| p.top_p = 0.8);
    assert_distribution(&logits, |p| p.top_p = 0.9999);
    assert_distribution(&logits, |p| p.min_p = 0.2);
    assert_distribution(&logits, |p| {
        (p.temperature, p.top_k, p.top_p, p.min_p) = (1.3, 60, 0.9, 0.05)
    });
    assert_distribution(&logits, |p| {
        (p.temperature, p.top_p, p.min_p) = (0.8, 0.95, 0.1)
    });
}

#[test]
fn top_k_keeps_the_k_largest_however_they_lie() {
    let mut logits = typical(5000);
    logits[4990..]
        .iter_mut()
        .enumerate()
        .for_each(|(i, logit)| *logit = 20.0 + i as f32 * 0.01);
    assert_eq!(
        support(&logits, |p| p.top_k = 10),
        (4990..5000).collect::<Vec<u32>>()
    );
    assert_eq!(
        support(&[1.0; 9], |p| p.top_k = 3),
        [0, 1, 2],
        "ties go to the lower id"
    );
    assert_eq!(support(&[1.0; 4], |p| p.top_k = 0), [0, 1, 2, 3]);
    assert_eq!(support(&[1.0; 4], |p| p.top_k = -1), [0, 1, 2, 3]);
    assert_eq!(support(&[1.0; 4], |p| p.top_k = i64::MAX), [0, 1, 2, 3]);
}

#[test]
fn top_p_keeps_the_token_that_crosses_the_share() {
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    assert_eq!(support(&logits, |p| p.top_p = 0.45), [0]);
    assert_eq!(support(&logits, |p| p.top_p = 0.55), [0, 1]);
    assert_eq!(support(&logits, |p| p.top_p = 0.85), [0, 1, 2]);
    assert_eq!(support(&logits, |p| p.top_p = 0.0), [0], "0 is greedy");
}

#[test]
fn min_p_is_relative_to_the_most_likely_token() {
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    assert_eq!(support(&logits, |p| p.min_p = 0.39), [0, 1, 2]);
    assert_eq!(support(&logits, |p| p.min_p = 0.5), [0, 1]);
    assert_eq!(support(&logits, |p| p.min_p = 1.0), [0]);
    assert_eq!(
        support(&logits, |p| (p.min_p, p.top_k) = (0.5, 3)),
        [0, 1],
        "and without tokens that top-k removed"
    );
}

#[test]
fn the_repetition_penalty_looks_at_prompt_and_answer() {
    let greedy = |p: &mut SamplingParams| (p.temperature, p.repetition_penalty) = (0.0, 2.0);
    let mut with_prompt = sampler(3, greedy);
    with_prompt.observe_prompt(&[0, 99]);
    assert_eq!(with_prompt.sample(&[3.0, 2.0, 1.0]).unwrap().token, 1);
    assert_eq!(
        with_prompt.sample(&[3.0, 2.0, 1.8]).unwrap().token,
        2,
        "1 was answered and counts half now"
    );
    let mut negative = sampler(2, greedy);
    negative.observe_prompt(&[0]);
    assert_eq!(
        negative.sample(&[-1.0, -1.5]).unwrap().token,
        1,
        "negative logits are multiplied"
    );
    let mut window = sampler(3, |p| {
        (p.temperature, p.repetition_penalty, p.repeat_window) = (0.0, 2.0, Some(1))
    });
    window.observe_prompt(&[0, 0, 1]);
    assert_eq!(
        window.sample(&[3.0, 2.9, 1.0]).unwrap().token,
        0,
        "0 has left the window"
    );
}

#[test]
fn presence_and_frequency_penalties_look_at_the_answer_only() {
    let mut presence = sampler(2, |p| (p.temperature, p.presence_penalty) = (0.0, 1.0));
    presence.observe_prompt(&[0]);
    let tokens: Vec<u32> = (0..4)
        .map(|_| presence.sample(&[1.5, 1.0]).unwrap().token)
        .collect();
    assert_eq!(tokens, [0, 1, 0, 0], "subtracted once");
    let mut frequency = sampler(2, |p| (p.temperature, p.frequency_penalty) = (0.0, 1.0));
    let tokens: Vec<u32> = (0..4)
        .map(|_| frequency.sample(&[2.5, 1.0]).unwrap().token)
        .collect();
    assert_eq!(tokens, [0, 0, 1, 0], "subtracted per occurrence");
}

#[test]
fn logit_bias_is_added() {
    assert_eq!(
        support(&[0.0, 0.0], |p| p.logit_bias = vec![(1, 60.0), (1, 40.0)]),
        [1]
    );
    let error = Sampler::new(params(|p| p.logit_bias = vec![(2, 1.0)]), 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sampling option `logit_bias` names token 2, but the vocabulary has 2 tokens (0 to 1)"
    );
}

#[test]
fn logprobs_are_those_of_the_model() {
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    let mut sampler = sampler(3, |p| {
        (p.logprobs, p.temperature, p.logit_bias) = (Some(2), 0.5, vec![(2, 100.0)])
    });
    let sampled = sampler.sample(&logits).unwrap();
    assert_eq!(sampled.token, 2);
    assert!((sampled.logprob.unwrap() - 0.2f32.ln()).abs() < 1e-5);
    assert_eq!(
        sampled
            .top_logprobs
            .iter()
            .map(|top| top.0)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    assert!((sampled.top_logprobs[1].1 - 0.3f32.ln()).abs() < 1e-5);
}

#[test]
fn no_logprobs_unless_asked() {
    let sampled = sampler(2, |_| {}).sample(&[0.0, 1.0]).unwrap();
    assert_eq!((sampled.logprob, sampled.top_logprobs.len()), (None, 0));
}

#[test]
fn the_seed_decides() {
    let run = |seed: Option<u64>| {
        let mut sampler = sampler(50, |p| p.seed = seed);
        let tokens: Vec<u32> = (0..50)
            .map(|_| sampler.sample(&typical(50)).unwrap().token)
            .collect();
        (sampler.seed(), tokens)
    };
    assert_eq!(run(Some(1)), run(Some(1)));
    assert_ne!(run(Some(1)).1, run(Some(2)).1);
    let (seed, tokens) = run(None);
    assert_eq!(run(Some(seed)).1, tokens, "a drawn seed can be used again");
    assert_ne!(run(None).0, seed);
}

#[test]
fn broken_logits_are_errors() {
    let sample = |logits: &[f32]| sampler(3, |_| {}).sample(logits);
    assert!(matches!(
        sample(&[0.0, f32::NAN, 0.0]),
        Err(SamplingError::NotANumber { token: 1, .. })
    ));
    assert!(matches!(
        sample(&[0.0, 0.0, f32::INFINITY]),
        Err(SamplingError::NotANumber { token: 2, .. })
    ));
    assert_eq!(
        sample(&[f32::NEG_INFINITY; 3]),
        Err(SamplingError::NothingLeft)
    );
    assert_eq!(
        sample(&[0.0; 2]),
        Err(SamplingError::WrongLength {
            logits: 2,
            vocab: 3
        })
    );
    assert_eq!(
        sample(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY])
            .unwrap()
            .token,
        1
    );
    assert!(matches!(
        Sampler::new(params(|_| {}), 0),
        Err(SamplingError::EmptyVocabulary)
    ));
}

#[test]
fn options_outside_their_range_are_refused_by_name() {
    let refused = |name: &str, change: fn(&mut SamplingParams)| {
        let error = params(change).validate().unwrap_err();
        assert!(
            matches!(&error, SamplingError::OutOfRange { option, .. } if *option == name),
            "{error}"
        );
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 1e9] {
        for (name, change) in [
            (
                "temperature",
                (|p, v| p.temperature = v) as fn(&mut SamplingParams, f32),
            ),
            ("top_p", |p, v| p.top_p = v),
            ("min_p", |p, v| p.min_p = v),
            ("repetition_penalty", |p, v| p.repetition_penalty = v),
            ("presence_penalty", |p, v| p.presence_penalty = v * 3.0),
            ("frequency_penalty", |p, v| p.frequency_penalty = v * 3.0),
            ("logit_bias", |p, v| p.logit_bias = vec![(0, v * 101.0)]),
        ] {
            let error = params(|p| change(p, bad)).validate().unwrap_err();
            assert!(
                matches!(&error, SamplingError::OutOfRange { option, .. } if *option == name),
                "{error}"
            );
        }
    }
    refused("repetition_penalty", |p| p.repetition_penalty = 0.0);
    refused("top_p", |p| p.top_p = 1.01);
    refused("top_k", |p| p.top_k = -2);
    refused("repeat_window", |p| p.repeat_window = Some(0));
    refused("max_tokens", |p| p.max_tokens = Some(0));
    refused("logprobs", |p| p.logprobs = Some(MAX_LOGPROBS + 1));
    refused("stop", |p| p.stop = vec!["x".into(); MAX_STOPS + 1]);
    refused("stop", |p| p.stop = vec!["x".repeat(MAX_STOP_BYTES + 1)]);
    refused("stop", |p| p.stop = vec![String::new()]);
    refused("logit_bias", |p| {
        p.logit_bias = vec![(0, 1.0); MAX_LOGIT_BIASES + 1]
    });
    let error = params(|p| p.temperature = -1.0).validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "sampling option `temperature` is -1, but must be a number from 0 (greedy) to 100"
    );
}

#[test]
fn a_million_stop_strings_are_refused_at_once() {
    let begin = std::time::Instant::now();
    let error = params(|p| p.stop = vec!["x".into(); 1_000_000]).validate();
    assert!(matches!(
        error,
        Err(SamplingError::OutOfRange { option: "stop", .. })
    ));
    let error = params(|p| p.stop = vec!["x".repeat(100 << 20)]).validate();
    assert!(matches!(
        error,
        Err(SamplingError::OutOfRange { option: "stop", .. })
    ));
    assert!(begin.elapsed().as_secs() < 5);
}

#[test]
fn generation_config_gives_defaults() {
    let json = br#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.1, "max_new_tokens": 9,
        "repetition_penalty": 1.1, "eos_token_id": [1, 2], "bos_token_id": 3, "pad_token_id": null, "other": {}}"#;
    let defaults = GenerationDefaults::from_json(json).unwrap();
    assert_eq!(
        (defaults.eos_token_ids.as_slice(), defaults.bos_token_id),
        ([1, 2].as_slice(), Some(3))
    );
    assert!(defaults.warnings.is_empty(), "{:?}", defaults.warnings);
    let mut params = SamplingParams::default();
    defaults.apply(&mut params);
    let expected = SamplingParams {
        temperature: 0.6,
        top_k: 20,
        top_p: 0.95,
        min_p: 0.1,
        repetition_penalty: 1.1,
        max_tokens: Some(9),
        ..SamplingParams::default()
    };
    assert_eq!(params, expected);
}

#[test]
fn careless_generation_config_warns() {
    let json = br#"{"do_sample": false, "temperature": -1, "top_k": "many", "eos_token_id": 5, "bos_token_id": -4}"#;
    let defaults = GenerationDefaults::from_json(json).unwrap();
    assert_eq!(
        (defaults.temperature, defaults.top_k, defaults.bos_token_id),
        (None, None, None)
    );
    assert_eq!(defaults.eos_token_ids, [5]);
    assert_eq!(defaults.warnings.len(), 3, "{:?}", defaults.warnings);
    let mut params = SamplingParams::default();
    defaults.apply(&mut params);
    assert!(params.is_greedy(), "do_sample = false");
    assert!(GenerationDefaults::from_json(b"[1]").is_err());
    assert!(GenerationDefaults::from_json(b"{").is_err());
}

/// Rough guard against sorting a whole vocabulary: 200,000 tokens in well under a millisecond each.
#[test]
fn a_large_vocabulary_is_fast() {
    let logits: Vec<f32> = (0..200_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 12) as f32 / 1e5 - 8.0)
        .collect();
    for change in [
        (|p| p.top_k = 40) as fn(&mut SamplingParams),
        |p| (p.top_p, p.temperature) = (0.9, 0.3),
        |p| p.min_p = 0.05,
        |_| {},
    ] {
        let mut sampler = sampler(logits.len(), change);
        sampler.sample(&logits).unwrap();
        let best = (0..20).map(|_| {
            let start = std::time::Instant::now();
            sampler.sample(&logits).unwrap();
            start.elapsed()
        });
        let best = best.min().unwrap();
        assert!(best.as_micros() < 6_000, "{best:?}");
    }
}

fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![8 => -50.0f32..50.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(1.0f32), 1 => any::<f32>()];
    prop::collection::vec(logit, 1..200)
}

proptest! {
    /// Any logits and any accepted options give a token with a finite logit, or a typed error for broken logits.
    #[test]
    fn something_can_always_be_chosen(
        logits in any_logits(), temperature in 0.0f32..100.0, top_k in -1i64..300, top_p in 0.0f32..=1.0,
        min_p in 0.0f32..=1.0, repetition in 0.001f32..100.0, presence in -2.0f32..2.0, history in prop::collection::vec(0u32..220, 0..30),
    ) {
        let change = |p: &mut SamplingParams| {
            (p.temperature, p.top_k, p.top_p, p.min_p) = (temperature, top_k, top_p, min_p);
            (p.repetition_penalty, p.presence_penalty) = (repetition, presence);
        };
        let mut sampler = sampler(logits.len(), change);
        sampler.observe_prompt(&history);
        let broken = logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) || logits.iter().all(|l| *l == f32::NEG_INFINITY);
        for _ in 0..3 {
            match sampler.sample(&logits) {
                Ok(sampled) => {
                    prop_assert!(!broken);
                    prop_assert!(logits[sampled.token as usize].is_finite());
                }
                // Penalties may push the last finite logit of f32's end to -inf.
                Err(SamplingError::NothingLeft) => prop_assert!(broken || logits.iter().all(|l| l.is_infinite() || l.abs() > 1e36)),
                Err(_) => prop_assert!(broken),
            }
        }
    }

    #[test]
    fn top_k_1_temperature_0_and_top_p_0_are_argmax(logits in prop::collection::vec(-9.0f32..9.0, 1..300)) {
        let best = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32;
        for change in [
            (|p| p.top_k = 1) as fn(&mut SamplingParams), |p| p.temperature = 0.0, |p| p.top_p = 0.0, |p| p.temperature = 1e-38,
        ] {
            prop_assert_eq!(sampler(logits.len(), change).sample(&logits).unwrap().token, best);
        }
    }
}
