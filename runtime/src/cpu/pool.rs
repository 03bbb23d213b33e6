//! The process-wide thread pool.
//!
//! A token of a small model is hundreds of parallel sections of a few microseconds each, so what counts is how fast a
//! section starts and ends. One section runs at a time. Its job lies on the caller's stack; the *gate*, one atomic word of
//! (epoch, open bit, workers inside), is all that is needed to publish and retire it: a worker enters by incrementing the
//! gate while it is open, takes task numbers from a shared counter, and leaves by decrementing. The caller works too, then
//! closes the gate and waits for those inside; a worker that wakes too late finds the gate closed and misses nothing.
//! Idle workers spin for a while, then sleep on a condition variable.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;

/// Polls of the gate before an idle worker sleeps: some 50 µs, the longest usual pause between two sections of a token.
const SPINS: u32 = 4000;
/// Polls for the last workers to leave before the caller offers its core to others.
const CALLER_SPINS: u32 = 2000;

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
const EPOCH: u64 = 1 << 32;

/// Most threads that are ever used; more would only be a mistyped number.
const MAX_THREADS: usize = 1024;

/// Calls `f` once with each number below `tasks`, on all threads of the pool and the caller's; returns when all are done.
///
/// Tasks are handed out one by one in rising order, so make them a few microseconds of work at least. A call from within a
/// task, or while another thread's call is running, does all its tasks on the calling thread. If tasks panic, one panic is
/// passed on to the caller after all threads have left; tasks not begun by then are dropped.
pub fn parallel(tasks: usize, f: impl Fn(usize) + Sync) {
    if tasks <= 1 || IN_TASK.get() {
        return (0..tasks).for_each(f);
    }
    let pool = pool();
    if pool.limit.load(Ordering::Relaxed) <= 1 {
        return (0..tasks).for_each(f);
    }
    let section = match pool.section.try_lock() {
        Ok(guard) => guard,
        // A panic is caught before the guard is dropped, but never rely on it.
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return (0..tasks).for_each(f),
    };
    pool.run(&section, tasks, &f);
}

/// Sets how many threads [`parallel`] uses, the caller's included; 0 stands for the default.
///
/// The default is the environment variable `INFERNO_THREADS` if set, else all cores that this process may use (CPU affinity
/// and control-group quotas count).
pub fn set_threads(count: usize) {
    let pool = pool();
    let count = if count == 0 { default_threads() } else { count };
    pool.grow(count.min(MAX_THREADS));
}

/// How many threads [`parallel`] uses, the caller's included.
#[must_use]
pub fn threads() -> usize {
    pool().limit.load(Ordering::Relaxed)
}

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

struct Pool {
    /// Held by the thread whose section is running.
    section: Mutex<()>,
    /// Threads to use, the caller's included.
    limit: AtomicUsize,
    /// Worker threads that exist.
    workers: Mutex<usize>,
    gate: AtomicU64,
    job: AtomicPtr<Job<'static>>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

struct Job<'f> {
    f: &'f (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Does tasks until none are left.
    fn work(&self) {
        let before = IN_TASK.replace(true);
        let done = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.tasks {
                    break;
                }
                (self.f)(task);
            }
        }));
        IN_TASK.set(before);
        if let Err(panic) = done {
            self.next.store(self.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let mut first = false;
    let pool = POOL.get_or_init(|| {
        first = true;
        Pool {
            section: Mutex::new(()),
            limit: AtomicUsize::new(1),
            workers: Mutex::new(0),
            gate: AtomicU64::new(0),
            job: AtomicPtr::new(ptr::null_mut()),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        }
    });
    if first {
        pool.grow(default_threads());
    }
    pool
}

fn default_threads() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match std::env::var("INFERNO_THREADS") {
        Err(_) => cores,
        Ok(text) => match text.trim().parse() {
            Ok(count @ 1..=MAX_THREADS) => count,
            _ => {
                tracing::warn!(
                    "INFERNO_THREADS is {text:?}: using all {cores} cores; give a number from 1 to {MAX_THREADS}"
                );
                cores
            }
        },
    }
}

impl Pool {
    /// Makes `count` threads available. May be called while a section runs: `limit` only says who enters the next one.
    fn grow(&'static self, count: usize) {
        let mut workers = lock(&self.workers);
        while *workers + 1 < count {
            let name = format!("inferno-cpu-{}", *workers + 1);
            let index = *workers;
            let spawned = thread::Builder::new()
                .name(name)
                .spawn(move || self.serve(index));
            if let Err(error) = spawned {
                tracing::warn!(
                    "using {} threads: cannot start another: {error}",
                    *workers + 1
                );
                break;
            }
            *workers += 1;
        }
        self.limit.store(count.min(*workers + 1), Ordering::Relaxed);
    }

    /// Runs one section; `_section` shows that no other one is running.
    #[expect(unsafe_code, reason = "workers borrow the caller's stack")]
    fn run(&self, _section: &MutexGuard<'_, ()>, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        let job = Job {
            f,
            tasks,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        // SAFETY: only the lifetime changes. Workers use the job only between entering the open gate and leaving it; `job`
        // outlives that, because this function closes the gate and waits for all of them below, and nothing in between
        // returns or unwinds: `Job::work` catches panics.
        let shared: &Job<'static> = unsafe { std::mem::transmute::<&Job<'_>, &Job<'static>>(&job) };
        self.job
            .store(ptr::from_ref(shared).cast_mut(), Ordering::Relaxed);
        let epoch = (self.gate.load(Ordering::Relaxed) / EPOCH).wrapping_add(1);
        self.gate
            .store(epoch.wrapping_mul(EPOCH) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Whoever counted itself holds the lock until it really waits.
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
        job.work();
        self.gate.fetch_and(!OPEN, Ordering::Relaxed);
        let mut spins = 0;
        while self.gate.load(Ordering::Acquire) & INSIDE != 0 {
            if spins < CALLER_SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        let panic = lock(&job.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// The life of worker `index`.
    #[expect(unsafe_code, reason = "workers borrow the caller's stack")]
    fn serve(&self, index: usize) {
        let mut last = 0;
        loop {
            let epoch = self.await_section(index, last);
            last = epoch;
            if !self.enter(epoch) {
                continue;
            }
            let job = self.job.load(Ordering::Relaxed);
            // SAFETY: this thread is inside the gate, which the caller opened after it stored the pointer (the successful
            // exchange in `enter` acquired that) and whose closing it awaits before the job goes away.
            unsafe { &*job }.work();
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open gate of another epoch than `last`, and returns its epoch.
    fn await_section(&self, index: usize, last: u64) -> u64 {
        let ready = || {
            let gate = self.gate.load(Ordering::SeqCst);
            let wanted = index + 1 < self.limit.load(Ordering::Relaxed);
            (wanted && gate & OPEN != 0 && gate / EPOCH != last).then_some(gate / EPOCH)
        };
        for _ in 0..SPINS {
            if let Some(epoch) = ready() {
                return epoch;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.sleep);
        // First counted, then looked: the caller first opens the gate, then looks for sleepers.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let epoch = loop {
            if let Some(epoch) = ready() {
                break epoch;
            }
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        epoch
    }

    /// Counts this thread in, unless the gate of `epoch` has closed.
    fn enter(&self, epoch: u64) -> bool {
        let open = |gate: u64| (gate & OPEN != 0 && gate / EPOCH == epoch).then_some(gate + 1);
        self.gate
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, open)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counts(tasks: usize) -> Vec<AtomicU32> {
        (0..tasks).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn every_task_runs_once_in_thousands_of_sections() {
        set_threads(4);
        for round in 0..5000 {
            let seen = counts(round % 37);
            parallel(seen.len(), |task| {
                seen[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn sections_work_after_the_workers_fell_asleep() {
        set_threads(3);
        for _ in 0..20 {
            thread::sleep(std::time::Duration::from_millis(2));
            let seen = counts(64);
            parallel(64, |task| {
                seen[task].fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn nested_and_concurrent_calls_run_inline() {
        let total = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        parallel(5, |_| {
                            parallel(7, |_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 200 * 5 * 7);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        for bad in [0, 1, 17, 63] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                parallel(64, |task| assert_ne!(task, bad, "deliberate"));
            }));
            let message = caught.unwrap_err();
            assert!(
                message
                    .downcast_ref::<String>()
                    .unwrap()
                    .contains("deliberate")
            );
            let seen = counts(64);
            parallel(64, |task| {
                seen[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn the_number_of_threads_can_change_at_any_time() {
        for count in [1, 5, 2, 0, 3] {
            set_threads(count);
            let seen = counts(100);
            parallel(100, |task| {
                seen[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}
