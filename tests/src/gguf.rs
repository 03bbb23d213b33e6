//! Writes small GGUF files, sound ones and broken ones.

/// A GGUF file in the making. [`GgufFile::default`] is an empty, sound one; whoever wants a broken one changes a field.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// The first four bytes.
    pub magic: [u8; 4],
    /// Format version.
    pub version: u32,
    /// Number of tensors that the header claims, if not the true one.
    pub claimed_tensors: Option<u64>,
    /// Number of metadata entries that the header claims, if not the true one.
    pub claimed_entries: Option<u64>,
    /// What tensors are aligned to. A `general.alignment` entry is up to the caller.
    pub alignment: usize,
    /// Metadata: key, number of the type, and the value's bytes.
    pub entries: Vec<(Vec<u8>, u32, Vec<u8>)>,
    /// Tensors.
    pub tensors: Vec<GgufTensor>,
}

/// A tensor of a [`GgufFile`].
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// Its name.
    pub name: Vec<u8>,
    /// Its dimensions as in the file, the fastest first.
    pub dimensions: Vec<u64>,
    /// Number of its ggml type.
    pub kind: u32,
    /// Its offset in the data, if not right behind the tensor before it.
    pub offset: Option<u64>,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Default for GgufFile {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            claimed_tensors: None,
            claimed_entries: None,
            alignment: 32,
            entries: Vec::new(),
            tensors: Vec::new(),
        }
    }
}

impl GgufFile {
    /// A file with `general.architecture`.
    #[must_use]
    pub fn new(architecture: &str) -> Self {
        Self::default().string("general.architecture", architecture)
    }

    /// Adds an entry from the bytes of its value.
    #[must_use]
    pub fn entry(mut self, key: impl AsRef<[u8]>, kind: u32, value: impl Into<Vec<u8>>) -> Self {
        self.entries
            .push((key.as_ref().to_vec(), kind, value.into()));
        self
    }

    /// Adds a `u32`.
    #[must_use]
    pub fn u32(self, key: &str, value: u32) -> Self {
        self.entry(key, 4, value.to_le_bytes())
    }

    /// Adds an `f32`.
    #[must_use]
    pub fn f32(self, key: &str, value: f32) -> Self {
        self.entry(key, 6, value.to_le_bytes())
    }

    /// Adds a bool.
    #[must_use]
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.entry(key, 7, [u8::from(value)])
    }

    /// Adds a string.
    #[must_use]
    pub fn string(self, key: &str, value: &str) -> Self {
        self.entry(key, 8, string(value.as_bytes()))
    }

    /// Adds an array of strings.
    #[must_use]
    pub fn strings(self, key: &str, values: &[&str]) -> Self {
        let elements: Vec<u8> = values
            .iter()
            .flat_map(|value| string(value.as_bytes()))
            .collect();
        self.entry(key, 9, array(8, values.len() as u64, &elements))
    }

    /// Adds an array of `f32`.
    #[must_use]
    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let elements: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.entry(key, 9, array(6, values.len() as u64, &elements))
    }

    /// Adds an array of `i32`.
    #[must_use]
    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let elements: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.entry(key, 9, array(5, values.len() as u64, &elements))
    }

    /// Adds a tensor; `shape` is row-major.
    #[must_use]
    pub fn tensor(
        mut self,
        name: &str,
        shape: &[usize],
        kind: u32,
        data: impl Into<Vec<u8>>,
    ) -> Self {
        let dimensions = shape.iter().rev().map(|size| *size as u64).collect();
        self.tensors.push(GgufTensor {
            name: name.into(),
            dimensions,
            kind,
            offset: None,
            data: data.into(),
        });
        self
    }

    /// Adds a tensor of f32 (ggml type 0).
    #[must_use]
    pub fn f32_tensor(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let data: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.tensor(name, shape, 0, data)
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(
            self.claimed_tensors
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        out.extend(
            self.claimed_entries
                .unwrap_or(self.entries.len() as u64)
                .to_le_bytes(),
        );
        for (key, kind, value) in &self.entries {
            out.extend(string(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        let mut next = 0;
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            out.extend(tensor.dimensions.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(next).to_le_bytes());
            next = (next + tensor.data.len() as u64).next_multiple_of(self.alignment as u64);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.data);
        }
        out
    }
}

/// A sound file of two tensors and some metadata.
#[must_use]
pub fn sound() -> GgufFile {
    GgufFile::new("llama")
        .u32("llama.block_count", 2)
        .strings("tokenizer.ggml.tokens", &["a", "", "é"])
        .f32_tensor("a.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .tensor("b.weight", &[2, 32], 8, vec![1; 68])
}

/// A string as GGUF has it: length and bytes.
#[must_use]
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend(bytes);
    out
}

/// An array as GGUF has it, with the length that it claims.
#[must_use]
pub fn array(kind: u32, claimed: u64, elements: &[u8]) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend(claimed.to_le_bytes());
    out.extend(elements);
    out
}
