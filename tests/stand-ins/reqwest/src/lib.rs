//! As much of `reqwest` as `openai-harmony` 0.0.8 calls. Nothing is ever fetched: the tests give it its vocabulary as a file.

/// There is no network here.
#[derive(Debug)]
pub struct Error;

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("tests have no network: set TIKTOKEN_ENCODINGS_BASE")
    }
}

impl std::error::Error for Error {}

/// The client that waits.
pub mod blocking {
    use super::Error;

    /// A client that reaches nobody.
    #[derive(Debug, Default)]
    pub struct Client;

    impl Client {
        /// A client.
        pub fn new() -> Self {
            Self
        }

        /// A request.
        pub fn get(&self, _url: &str) -> Request {
            Request
        }
    }

    /// A request that fails.
    #[derive(Debug)]
    pub struct Request;

    impl Request {
        /// # Errors
        /// Always.
        pub fn send(self) -> Result<Response, Error> {
            Err(Error)
        }
    }

    /// There is none.
    #[derive(Debug)]
    pub enum Response {}

    impl Response {
        /// # Errors
        /// None, as there is no response.
        pub fn error_for_status(self) -> Result<Self, Error> {
            Ok(self)
        }
    }

    impl std::io::Read for Response {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            match *self {}
        }
    }
}
