//! Fetching a model: what stands beside the weights first, then the weights, several files at a time.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cache::RepoCache;
use super::client::Client;
use super::listing::RemoteFile;
use super::lock::{Lock, Waiting};
use super::plan::{DownloadPlan, PlannedFile};
use super::progress::{Event, Listener, Meter};
use super::transfer::Job;
use super::{Cancel, Hub, HubError, space};

/// Files that are fetched at the same time.
const PARALLEL: usize = 4;
/// Held shared by downloads of a repository, and alone by who removes it.
pub(super) const REPOSITORY_LOCK: &str = "inferno-repository.lock";

/// A model that is whole.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// What `--model` takes.
    pub name: String,
    /// What to open: a folder, or a GGUF file.
    pub path: PathBuf,
    /// Bytes that came over the network.
    pub fetched: u64,
}

impl Downloaded {
    /// What the end of its download is told as.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::Complete {
            model: self.name.clone(),
            path: self.path.display().to_string(),
            fetched: self.fetched,
        }
    }
}

impl Hub {
    /// Fetches what a plan names and is not here. What an earlier download left is used; several processes may do this at
    /// once. Blocks; `listener` hears from several threads.
    ///
    /// # Errors
    /// Says what to do; what has been fetched stays, and the next download goes on from there.
    pub fn download(
        &self,
        plan: &DownloadPlan,
        listener: Listener,
        cancel: &Cancel,
    ) -> Result<Downloaded, HubError> {
        let folder = self.settings().cache.as_deref().ok_or(HubError::NoCache)?;
        let cache = RepoCache::new(folder, &plan.name.repo, self.settings().links);
        listener(&plan.event());
        let has = |planned: &PlannedFile| cache.has(&plan.commit, &planned.file);
        if plan.files.iter().all(has) {
            // Nothing to fetch: then a cache that cannot be written does no harm.
            if let Some(Err(error)) = plan
                .revision
                .as_ref()
                .map(|revision| cache.write_ref(revision, &plan.commit))
            {
                tracing::warn!("{error}");
            }
            return Ok(tell_end(plan, &cache, 0, listener));
        }
        cache.create()?;
        let _using = self.announce(&cache, &plan.name.repo.to_string(), cancel)?;
        space::check(folder, plan.missing_bytes())?;
        let files: Vec<(usize, &RemoteFile)> = plan
            .files
            .iter()
            .map(|planned| &planned.file)
            .enumerate()
            .collect();
        let meter = Meter::new(files.len(), plan.total_bytes(), listener);
        // Side files first: a snapshot with weights is one with everything.
        let side = plan.files.iter().filter(|planned| !planned.weights).count();
        for batch in [&files[..side], &files[side..]] {
            self.fetch_all(plan, &cache, batch, &meter, cancel)?;
        }
        if let Some(revision) = &plan.revision {
            cache.write_ref(revision, &plan.commit)?;
        }
        Ok(tell_end(plan, &cache, meter.fetched(), listener))
    }

    /// Keeps others from removing the repository meanwhile.
    fn announce(&self, cache: &RepoCache, name: &str, cancel: &Cancel) -> Result<Lock, HubError> {
        let path = cache.locks().join(REPOSITORY_LOCK);
        if let Some(lock) = Lock::attempt_shared(&path)? {
            return Ok(lock);
        }
        // Somebody removes it just now, which does not take long.
        let waiting = Waiting {
            cancel,
            patience: self.settings().patience.other_process,
            bytes: &|| 0,
            told: &|_| tracing::info!("{name} is being removed; waiting"),
        };
        drop(Lock::wait(&path, &waiting)?);
        cache.create()?;
        Lock::attempt_shared(&path)?.ok_or_else(|| HubError::Busy { name: name.into() })
    }

    /// Fetches files on several threads; the first error stops all of them.
    fn fetch_all(
        &self,
        plan: &DownloadPlan,
        cache: &RepoCache,
        files: &[(usize, &RemoteFile)],
        meter: &Meter,
        cancel: &Cancel,
    ) -> Result<(), HubError> {
        let stop = Cancel::default();
        let client = Client::new(self.settings())?;
        let job = Job {
            hub: self,
            client: &client,
            cache,
            model: &plan.name,
            commit: &plan.commit,
            meter,
            cancel: &stop,
        };
        let queue = Mutex::new(files.iter());
        let (sender, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(files.len()) {
                let (sender, job, queue) = (sender.clone(), &job, &queue);
                scope.spawn(move || {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((index, file)) = next else { break };
                        let done = job.fetch(file, *index);
                        let failed = done.is_err();
                        // Nobody listens any more when another thread failed first.
                        if sender.send(done).is_err() || failed {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let outcome = watch(&results, files.len(), cancel);
            if outcome.is_err() {
                stop.cancel();
                client.hang_up();
            }
            outcome
        })
    }
}

fn tell_end(
    plan: &DownloadPlan,
    cache: &RepoCache,
    fetched: u64,
    listener: Listener,
) -> Downloaded {
    let done = Downloaded {
        name: plan.name.to_string(),
        path: plan.path_in(cache),
        fetched,
    };
    listener(&done.event());
    done
}

/// Waits for all files, the first error, or the user's stop.
fn watch(
    results: &mpsc::Receiver<Result<(), HubError>>,
    mut left: usize,
    cancel: &Cancel,
) -> Result<(), HubError> {
    while left > 0 {
        match results.recv_timeout(Duration::from_millis(50)) {
            Ok(done) => {
                done?;
                left -= 1;
            }
            Err(RecvTimeoutError::Timeout) => cancel.check()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    cancel.check()
}
