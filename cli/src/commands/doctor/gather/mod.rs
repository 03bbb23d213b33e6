//! Asking the machine, all questions at once and each for a bounded time: a dead network disk or a silent hub costs its
//! own answer, never the others.

mod cache;
mod cuda;
mod gpu;
mod hub;
mod models;
mod system;

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use inferno_runtime::cpu;
use inferno_runtime::device::{NEEDS, cuda_archs};
use inferno_runtime::models::ARCHITECTURES;

use super::facts::{Backend, Cuda, Facts, Program};
use crate::printer::Printer;

/// For what the machine itself knows.
const LOCAL: Duration = Duration::from_secs(10);
/// For the hub, which is asked with a patience of its own.
const HUB: Duration = Duration::from_secs(15);
/// For looking through the installed models, which may lie on a slow disk.
const MODELS: Duration = Duration::from_secs(30);

/// Gathers all facts; with `deep` the hashes of all installed files too, which takes as long as reading them.
pub(super) fn facts(deep: bool, printer: &Printer) -> anyhow::Result<Facts> {
    // Before the kernels run: that starts the threads which are counted here.
    let cpu = system::cpu();
    let kernels = Asked::new(LOCAL, || cpu::self_test().ok());
    let memory = Asked::new(LOCAL, system::memory);
    let cache = Asked::new(LOCAL, cache::look);
    let gpus = Asked::new(LOCAL, || Some(gpu::look()));
    let hub = Asked::new(HUB, || Some(hub::look()));
    // It keeps its own time. What it finds free on a GPU is what models are measured by.
    let cuda = cuda::look();
    let gpu = cuda.as_ref().and_then(Cuda::first_sound);
    let models = Asked::new(MODELS, move || Some(models::look(gpu)));
    let mut models = models.answer();
    if let (true, Some(models)) = (deep, &mut models) {
        models.repositories = models::verify(printer)?;
        models.deep = true;
    }
    Ok(Facts {
        program: Program {
            version: env!("CARGO_PKG_VERSION"),
            backends: backends(),
            architectures: ARCHITECTURES.len(),
        },
        system: system::system(),
        cpu,
        kernels: kernels.answer(),
        memory: memory.answer(),
        cache: cache.answer(),
        gpus: gpus.answer(),
        cuda,
        hub: hub.answer(),
        models,
    })
}

/// What this program has been built with.
fn backends() -> Vec<Backend> {
    let cpu = Backend {
        name: "cpu",
        archs: Vec::new(),
        driver: None,
    };
    let archs = cuda_archs();
    let cuda = (!archs.is_empty()).then_some(Backend {
        name: "cuda",
        archs,
        driver: Some(NEEDS.driver),
    });
    [Some(cpu), cuda].into_iter().flatten().collect()
}

/// A question on its way.
struct Asked<T> {
    answer: Receiver<Option<T>>,
    until: Instant,
}

impl<T: Send + 'static> Asked<T> {
    /// Asks on a thread of its own, which is left behind when it does not come back.
    fn new(limit: Duration, question: impl FnOnce() -> Option<T> + Send + 'static) -> Self {
        let (send, answer) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more after the limit.
            let _ = send.send(question());
        });
        Self {
            answer,
            until: Instant::now() + limit,
        }
    }

    /// Waits for what is left of the time.
    fn answer(self) -> Option<T> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.answer.recv_timeout(left).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_an_answer_costs_its_own_time_only() {
        let begin = Instant::now();
        let silent = Asked::new(Duration::from_millis(50), || {
            std::thread::sleep(Duration::from_secs(60));
            Some(1)
        });
        let quick = Asked::new(Duration::from_secs(20), || Some(2));
        assert_eq!((silent.answer(), quick.answer()), (None, Some(2)));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_question_that_panics_has_no_answer() {
        let asked = Asked::<u8>::new(Duration::from_secs(20), || panic!("on purpose"));
        assert_eq!(asked.answer(), None);
    }
}
