//! Work over disjoint parts of an output, on all cores when there is enough of it.

use std::sync::{Mutex, PoisonError};

use crate::cpu;

/// Elements below which waking other cores costs more than it saves.
const WORTHWHILE: usize = 32 * 1024;

/// Runs `f(first_row, rows)` over runs of rows of `out` (`[_, width]`).
pub(super) fn for_rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() < WORTHWHILE || width == 0 {
        return f(0, out);
    }
    let rows = (WORTHWHILE / 4).div_ceil(width);
    for_chunks(out.chunks_mut(rows * width).collect(), |i, chunk| {
        f(i * rows, chunk)
    });
}

/// Runs `f(index, chunk)` over chunks, in parallel.
pub(super) fn for_chunks<T: Send>(chunks: Vec<&mut [T]>, f: impl Fn(usize, &mut [T]) + Sync) {
    let chunks: Vec<Mutex<&mut [T]>> = chunks.into_iter().map(Mutex::new).collect();
    cpu::parallel(chunks.len(), |i| {
        // Each chunk is locked once: the lock only proves to the compiler that nobody else writes there.
        f(
            i,
            &mut chunks[i].lock().unwrap_or_else(PoisonError::into_inner),
        );
    });
}
