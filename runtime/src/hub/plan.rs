//! What a download would fetch, and whether the model would run: known before its weights are here.

use std::path::PathBuf;

use super::cache::RepoCache;
use super::hash::Hasher;
use super::listing::{Listing, RemoteFile};
use super::name::{ModelName, Revision};
use super::progress::Event;
use super::retry::Failure;
use super::select::{self, CONFIG, MAX_INDEX_BYTES, Selection, Weights, select};
use super::{Cancel, Hub, HubError, Listener, space};
use crate::config::{ConfigFile, MAX_CONFIG_BYTES, Metadata};
use crate::models::ARCHITECTURES;
use crate::weights::{MetadataValue, gguf_architecture, unsupported_quantization};

/// What is read of a GGUF file to learn its architecture.
const GGUF_START: u64 = 64 << 10;

/// How to plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanOptions {
    /// Plan what would not run here, too.
    pub force: bool,
}

/// A file of a plan.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// The file.
    pub file: RemoteFile,
    /// Weights, as opposed to what stands beside them.
    pub weights: bool,
    /// Bytes that are here already.
    pub here: u64,
}

/// What a download would fetch.
#[derive(Clone, Debug)]
pub struct DownloadPlan {
    /// The model; of a GGUF repository with the file that was chosen.
    pub name: ModelName,
    /// Commit of the repository.
    pub commit: String,
    /// Stem of the spec that serves it, as far as it is known before.
    pub architecture: Option<String>,
    /// Side files first.
    pub files: Vec<PlannedFile>,
    pub(super) revision: Option<Revision>,
    /// The GGUF file to open; `None`: the whole snapshot.
    open: Option<String>,
}

impl DownloadPlan {
    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.sum(|planned| planned.file.size)
    }

    /// Bytes that are not here yet.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        self.sum(|planned| planned.file.size.saturating_sub(planned.here))
    }

    /// Bytes of the weights.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.sum(|planned| {
            if planned.weights {
                planned.file.size
            } else {
                0
            }
        })
    }

    /// Sizes come from a server: their sum may be anything.
    fn sum(&self, bytes: impl Fn(&PlannedFile) -> u64) -> u64 {
        self.files
            .iter()
            .fold(0, |sum: u64, planned| sum.saturating_add(bytes(planned)))
    }

    /// What it is told as.
    pub(super) fn event(&self) -> Event {
        Event::Planned {
            model: self.name.to_string(),
            commit: self.commit.clone(),
            architecture: self.architecture.clone(),
            files: self.files.len(),
            bytes: self.total_bytes(),
            here: self.total_bytes() - self.missing_bytes(),
        }
    }

    pub(super) fn path_in(&self, cache: &RepoCache) -> PathBuf {
        let snapshot = cache.snapshot(&self.commit);
        match &self.open {
            Some(file) => snapshot.join(file),
            None => snapshot,
        }
    }
}

impl Hub {
    /// Asks the hub what a model consists of, and judges by its config.json, or by the start of its GGUF file, whether it
    /// would run here. Writes nothing.
    ///
    /// # Errors
    /// If there is no such model, it would not run, or there is no room for it.
    pub fn plan(
        &self,
        name: &ModelName,
        options: PlanOptions,
        listener: Listener,
        cancel: &Cancel,
    ) -> Result<DownloadPlan, HubError> {
        let settings = self.settings();
        if settings.offline {
            return Err(HubError::Offline {
                name: name.to_string(),
            });
        }
        let folder = settings.cache.as_deref().ok_or(HubError::NoCache)?;
        let cache = RepoCache::new(folder, &name.repo, settings.links);
        let listing = self.listing(name, listener, cancel)?;
        let asking = Asking {
            hub: self,
            name,
            listing: &listing,
            cache: &cache,
            listener,
            cancel,
        };
        let selection = select(&listing, name)?;
        let architecture = match asking.judge(&selection) {
            Ok(architecture) => Some(architecture),
            Err(HubError::WouldNotRun { reason, .. }) if options.force => {
                tracing::info!("{name} would not run: {reason}");
                None
            }
            Err(error) => return Err(error),
        };
        let plan = asking.plan(selection, architecture)?;
        space::check(folder, plan.missing_bytes())?;
        Ok(plan)
    }
}

/// What planning needs to ask further.
struct Asking<'a> {
    hub: &'a Hub,
    name: &'a ModelName,
    listing: &'a Listing,
    cache: &'a RepoCache,
    listener: Listener<'a>,
    cancel: &'a Cancel,
}

impl Asking<'_> {
    fn plan(
        &self,
        selection: Selection,
        architecture: Option<String>,
    ) -> Result<DownloadPlan, HubError> {
        let mut name = self.name.clone();
        let (side, weights, open) = match selection {
            Selection::Gguf(model) => {
                name.file = Some(model.first.clone());
                (Vec::new(), model.parts, Some(model.first))
            }
            Selection::HuggingFace { mut side, weights } => match weights {
                Weights::Files(files) => (side, files, None),
                Weights::Indexed(index) => {
                    let text = self.small_file(&index, MAX_INDEX_BYTES)?;
                    let files = select::indexed(&text, self.listing, self.name)?;
                    side.push(index);
                    (side, files, None)
                }
            },
        };
        let planned = |weights: bool| {
            move |file: RemoteFile| PlannedFile {
                here: if self.is_here(&file) {
                    file.size
                } else {
                    self.cache.partial_bytes(&file)
                },
                weights,
                file,
            }
        };
        let side = side.into_iter().map(planned(false));
        Ok(DownloadPlan {
            name,
            commit: self.listing.commit.clone(),
            architecture,
            files: side.chain(weights.into_iter().map(planned(true))).collect(),
            revision: Revision::new(self.name.revision()).ok(),
            open,
        })
    }

    fn is_here(&self, file: &RemoteFile) -> bool {
        self.cache.has_blob(file) || self.cache.has(&self.listing.commit, file)
    }

    /// The spec that serves the model, or why it would not run.
    fn judge(&self, selection: &Selection) -> Result<String, HubError> {
        let would_not_run = |reason: String| HubError::WouldNotRun {
            name: self.name.to_string(),
            reason,
        };
        match selection {
            Selection::HuggingFace { side, .. } => {
                let find = |name: &str| side.iter().find(|file| file.path.as_str() == name);
                let Some(config) = find(CONFIG) else {
                    return Err(would_not_run(format!("it has no {CONFIG}")));
                };
                let bytes = self.small_file(config, MAX_CONFIG_BYTES)?;
                let text = String::from_utf8(bytes)
                    .map_err(|_| would_not_run(format!("its {CONFIG} is not UTF-8")))?;
                let config = ConfigFile::from_json(CONFIG, &text)
                    .map_err(|error| would_not_run(error.to_string()))?;
                if let Some(error) = unsupported_quantization(&config) {
                    return Err(would_not_run(error.to_string()));
                }
                let architecture = crate::nn::select(ARCHITECTURES, &config)
                    .map_err(|error| would_not_run(error.to_string()))?;
                if find("tokenizer.json").is_none() {
                    let reason = "it has no tokenizer.json, without which no text becomes tokens";
                    return Err(would_not_run(reason.into()));
                }
                Ok(architecture.name.into())
            }
            Selection::Gguf(model) => {
                if let Some(kind) = model.unread_quantization() {
                    return Err(would_not_run(format!(
                        "its weights are quantized as {kind}, which no kernel here reads yet"
                    )));
                }
                let Some(first) = model.parts.first() else {
                    return Err(would_not_run("it has no file".into()));
                };
                self.gguf_architecture(first)?.map_err(would_not_run)
            }
        }
    }

    /// What the first bytes of a GGUF file say; the inner error is why it would not run.
    fn gguf_architecture(&self, file: &RemoteFile) -> Result<Result<String, String>, HubError> {
        let start = self.start_of(file, GGUF_START)?;
        let Some(said) = gguf_architecture(&start) else {
            return Ok(Err(format!(
                "{} does not begin like a GGUF file of version 2 or 3 with an architecture",
                file.path
            )));
        };
        let known = ARCHITECTURES
            .iter()
            .find(|known| known.gguf.contains(&said.as_str()));
        if let Some(known) = known {
            return Ok(Ok(known.name.into()));
        }
        // Not known by name: the message that opening it would give lists those that are.
        let metadata = Metadata::from([(
            "general.architecture".to_string(),
            MetadataValue::String(said),
        )]);
        let chosen = ConfigFile::from_metadata(file.path.as_str(), metadata)
            .and_then(|config| Ok(crate::nn::select(ARCHITECTURES, &config)?.name));
        Ok(chosen
            .map(str::to_string)
            .map_err(|error| error.to_string()))
    }

    /// A small file as a whole, its hash checked: from the cache if it is there.
    fn small_file(&self, file: &RemoteFile, limit: u64) -> Result<Vec<u8>, HubError> {
        let right = |bytes: &[u8]| {
            let mut hasher = Hasher::new(&file.hash, bytes.len() as u64);
            hasher.update(bytes);
            hasher.finish() == file.hash
        };
        if file.size > limit {
            return Err(HubError::WrongContent {
                file: file.path.to_string(),
                reason: format!("it has {} bytes, and at most {limit} are read", file.size),
                hint: "this is no ordinary model; tell the repository's owner",
            });
        }
        if self.cache.has_blob(file)
            && let Ok(bytes) = std::fs::read(self.cache.blob(&file.hash))
            && right(&bytes)
        {
            return Ok(bytes);
        }
        let what = file.path.as_str();
        self.hub.with_retries(what, self.listener, self.cancel, || {
            let bytes = self.get(file, None)?.bytes(file.size.max(1))?;
            if right(&bytes) {
                Ok(bytes)
            } else {
                Err(Failure::passing(format!(
                    "{} bytes came whose hash is not the listed one",
                    bytes.len()
                )))
            }
        })
    }

    /// The first bytes of a file, unchecked.
    fn start_of(&self, file: &RemoteFile, bytes: u64) -> Result<Vec<u8>, HubError> {
        use std::io::Read as _;
        let wanted = bytes.min(file.size);
        for path in [self.cache.blob(&file.hash), self.cache.part(&file.hash)] {
            let mut start = Vec::new();
            if let Ok(opened) = std::fs::File::open(path)
                && opened.take(wanted).read_to_end(&mut start).is_ok()
                && start.len() as u64 == wanted
            {
                return Ok(start);
            }
        }
        let range = wanted.checked_sub(1).map(|last| (0, last));
        let what = file.path.as_str();
        self.hub.with_retries(what, self.listener, self.cancel, || {
            // A server without ranges sends all of it; the connection is closed when enough is here.
            let mut start = Vec::new();
            match self
                .get(file, range)?
                .reader()
                .take(wanted)
                .read_to_end(&mut start)
            {
                Ok(_) => Ok(start),
                Err(error) => Err(Failure::passing(error.to_string())),
            }
        })
    }

    fn get(
        &self,
        file: &RemoteFile,
        range: Option<(u64, u64)>,
    ) -> Result<super::client::Answer, Failure> {
        let url = self
            .hub
            .file_url(self.name, &self.listing.commit, &file.path);
        let mut wanted = self.hub.wanted(&url, self.name, false);
        wanted.range = range;
        wanted.subject.file = Some(file.path.as_str());
        self.hub.client().get(&wanted)
    }
}
