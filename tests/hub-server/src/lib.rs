//! A model hub on this machine that can misbehave. It answers as the real one does: a commit for a revision, a paged listing
//! with git and LFS ids, large files by a redirect to a storage host (another port, so another origin), small ones by a
//! relative redirect. Faults are scripted by path; each is used up by one request unless it says otherwise.

mod files;
mod output;
mod request;
mod respond;

use std::collections::{BTreeMap, VecDeque};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

pub use request::Seen;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with these headers and an empty body.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection ends after so many bytes of the body, of which the headers promise all.
    Drop(usize),
    /// Nothing comes any more after so many bytes.
    Stall(usize),
    /// One byte at a time, with so much time between.
    Trickle(Duration),
    /// Fewer bytes than the listing says, and headers that agree with them.
    Short(usize),
    /// More bytes than the listing says, in a body without a length.
    Long(usize),
    /// The right length, but wrong bytes.
    Garbled,
    /// All of it, though a range was asked for.
    NoRange,
    /// A range other than the one that was asked for.
    OtherRange,
    /// The login page of a network, with status 200.
    LoginPage,
    /// A body that is cut short without any sign in the headers.
    CutBody(usize),
    /// A redirect to this address.
    Redirect(String),
    /// Headers without end.
    EndlessHeaders,
    /// A body without end.
    EndlessBody,
    /// This body, as JSON.
    Json(String),
    /// This status, these headers, this body.
    Answer(u16, Vec<(&'static str, String)>, String),
}

/// A repository of the server.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Files by path.
    pub files: Vec<(String, Arc<Vec<u8>>)>,
    /// Token that may read it; `None`: everybody may.
    pub gated: Option<String>,
    /// Listed only for a token.
    pub private: bool,
    /// Entries of a page of the listing.
    pub page: usize,
    /// Commit of `main`.
    pub commit: String,
}

/// A hub, listening until it is dropped with the process.
#[derive(Clone, Debug)]
pub struct HubServer {
    /// Its address, for HF_ENDPOINT.
    pub url: String,
    /// Address of its storage host.
    pub storage: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    always: BTreeMap<String, Fault>,
    seen: Vec<Seen>,
    /// Tokens that the hub knows.
    tokens: Vec<String>,
    /// Bytes in one write to the storage host's connections, and the pause after it.
    throttle: Option<(usize, Duration)>,
    /// Bytes of bodies that the storage host has sent.
    sent: u64,
}

impl HubServer {
    /// Starts one with nothing in it.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").expect("a port");
        let storage = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &TcpListener| {
            format!("http://{}", listener.local_addr().expect("an address"))
        };
        let server = Self {
            url: address(&hub),
            storage: address(&storage),
            state: Arc::default(),
        };
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let server = server.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let server = server.clone();
                    std::thread::spawn(move || server.serve(stream, is_storage));
                }
            });
        }
        server
    }

    /// Adds a repository, and gives its commit.
    pub fn add(&self, id: &str, files: &[(&str, Vec<u8>)]) -> String {
        let files: Vec<_> = files
            .iter()
            .map(|(path, bytes)| ((*path).to_string(), Arc::new(bytes.clone())))
            .collect();
        let mut commit = Sha1::new();
        for (path, bytes) in &files {
            commit.update(path);
            commit.update(bytes.as_slice());
        }
        let commit = hex(&commit.finalize());
        let repository = Repository {
            files,
            gated: None,
            private: false,
            page: 1000,
            commit: commit.clone(),
        };
        self.lock().repositories.insert(id.into(), repository);
        commit
    }

    /// Changes a repository.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Repository)) {
        if let Some(repository) = self.lock().repositories.get_mut(id) {
            change(repository);
        }
    }

    /// Requests whose path ends with `path` meet this, one after the other.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.lock()
            .faults
            .entry(path.into())
            .or_default()
            .push_back(fault);
    }

    /// Every request whose path ends with `path` meets this.
    pub fn always(&self, path: &str, fault: Fault) {
        self.lock().always.insert(path.into(), fault);
    }

    /// Ends all misbehaviour.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.always.clear();
        state.throttle = None;
    }

    /// The hub knows this token.
    pub fn know_token(&self, token: &str) {
        self.lock().tokens.push(token.into());
    }

    /// Sends files slowly: so many bytes, then so long nothing.
    pub fn throttle(&self, bytes: usize, pause: Duration) {
        self.lock().throttle = Some((bytes, pause));
    }

    /// The requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// The requests for the bytes of a file, as the storage host or the hub saw them.
    #[must_use]
    pub fn fetches(&self, file: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.path.ends_with(file) && !seen.path.contains("/resolve/"));
        seen
    }

    /// Bytes of bodies that the storage host has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.lock().sent
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream, is_storage: bool) {
        let Ok(copy) = stream.try_clone() else { return };
        let mut reader = std::io::BufReader::new(copy);
        let mut stream = stream;
        while let Some(seen) = request::read(&mut reader, is_storage) {
            self.lock().seen.push(seen.clone());
            // An error is a client that went away, or a fault that ends the connection.
            if respond::respond(self, &seen, &mut stream).is_err() {
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }

    fn take_fault(&self, path: &str) -> Option<Fault> {
        let mut state = self.lock();
        let once = state
            .faults
            .iter_mut()
            .find(|(end, faults)| path.ends_with(end.as_str()) && !faults.is_empty())
            .and_then(|(_, faults)| faults.pop_front());
        once.or_else(|| {
            let found = state
                .always
                .iter()
                .find(|(end, _)| path.ends_with(end.as_str()));
            found.map(|(_, fault)| fault.clone())
        })
    }
}

/// Files from this size on are kept by LFS, whatever they are called; so are safetensors and GGUF.
const LFS_FROM: usize = 100_000;

/// Whether the hub keeps a file as LFS.
#[must_use]
pub fn is_lfs(path: &str, bytes: &[u8]) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf") || bytes.len() >= LFS_FROM
}

/// The LFS id of a content.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The git id of a content.
#[must_use]
pub fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes without a pattern that compresses or repeats.
#[must_use]
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(next());
    }
    bytes.truncate(len);
    bytes
}

/// The files of a Llama that a download takes for one; its weights are noise of `len` bytes.
#[must_use]
pub fn tiny_llama(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (".gitattributes", b"*.safetensors filter=lfs\n".to_vec()),
        ("README.md", b"# Tiny\n".to_vec()),
        (
            "config.json",
            br#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#.to_vec(),
        ),
        ("generation_config.json", b"{}".to_vec()),
        ("tokenizer.json", noise(150_000, 1)),
        ("tokenizer_config.json", b"{}\n".to_vec()),
        ("model.safetensors", noise(len, 2)),
        ("original/consolidated.pth", noise(1000, 3)),
        ("pytorch_model.bin", noise(1000, 4)),
        ("onnx/model.onnx", noise(1000, 5)),
    ]
}
