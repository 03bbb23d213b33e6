//! The texts of a folder of specs, and places in them.

/// A place in a spec file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct At {
    /// File name: `llama.toml`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters.
    pub len: usize,
}

/// A range of bytes in one file of a [`SpecSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Index of the file in its set.
    pub(crate) file: usize,
    /// First byte.
    pub(crate) start: usize,
    /// Byte behind the last.
    pub(crate) end: usize,
}

/// Name of the file that declares the standard config fields.
pub(crate) const PRELUDE: &str = "_prelude";

/// The standard fields, for folders that bring no `_prelude.toml` of their own.
const STANDARD_PRELUDE: &str = include_str!("../../../model-spec/_prelude.toml");

/// A folder of specs in memory: file name to text.
#[derive(Clone, Debug)]
pub struct SpecSet {
    folder: String,
    files: Vec<SpecFile>,
}

#[derive(Clone, Debug)]
struct SpecFile {
    stem: String,
    text: String,
    /// Byte offset of each line's first character.
    lines: Vec<usize>,
}

impl SpecFile {
    fn new(stem: &str, text: String) -> Self {
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self {
            stem: stem.to_string(),
            text,
            lines,
        }
    }
}

impl SpecSet {
    /// A set of `(name, text)`; names are file stems, with or without `.toml`. Of two with one name the later wins.
    /// Without a `_prelude` the standard one is used.
    pub fn new<N: AsRef<str>, T: Into<String>>(files: impl IntoIterator<Item = (N, T)>) -> Self {
        let mut set: Vec<SpecFile> = Vec::new();
        let standard = (PRELUDE.to_string(), STANDARD_PRELUDE.to_string());
        let given = files
            .into_iter()
            .map(|(name, text)| (name.as_ref().to_string(), text.into()));
        for (name, text) in std::iter::once(standard).chain(given) {
            let stem = name.strip_suffix(".toml").unwrap_or(&name);
            set.retain(|file| file.stem != stem);
            set.push(SpecFile::new(stem, text));
        }
        set.sort_by(|a, b| a.stem.cmp(&b.stem));
        Self {
            folder: "model-spec".to_string(),
            files: set,
        }
    }

    /// Sets the folder that messages print before a file's name; `model-spec` unless told, `""` for none.
    #[must_use]
    pub fn in_folder(mut self, folder: &str) -> Self {
        self.folder = folder.trim_end_matches('/').to_string();
        self
    }

    /// Stems of the specs, sorted: every file whose name does not start with `_`.
    pub fn stems(&self) -> impl Iterator<Item = &str> {
        let stems = self.files.iter().map(|file| file.stem.as_str());
        stems.filter(|stem| !stem.starts_with('_'))
    }

    /// Text of the file with this stem.
    pub fn text(&self, stem: &str) -> Option<&str> {
        Some(self.file_text(self.find(stem)?))
    }

    pub(crate) fn find(&self, stem: &str) -> Option<usize> {
        self.files.iter().position(|file| file.stem == stem)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn stem(&self, file: usize) -> &str {
        &self.files[file].stem
    }

    pub(crate) fn file_text(&self, file: usize) -> &str {
        &self.files[file].text
    }

    /// Path of a file as messages print it.
    pub(crate) fn path(&self, file: usize) -> String {
        match self.folder.as_str() {
            "" => format!("{}.toml", self.files[file].stem),
            folder => format!("{folder}/{}.toml", self.files[file].stem),
        }
    }

    /// Line and column of a span; a span over several lines ends with its first.
    pub(crate) fn at(&self, span: Span) -> At {
        let file = &self.files[span.file];
        let start = floor_char_boundary(&file.text, span.start);
        let end = floor_char_boundary(&file.text, span.end.max(start));
        let line = file.lines.partition_point(|&first| first <= start).max(1);
        let first = file.lines[line - 1];
        let inside = &file.text[start..end];
        At {
            file: format!("{}.toml", file.stem),
            line,
            column: file.text[first..start].chars().count() + 1,
            len: inside.lines().next().map_or(0, |text| text.chars().count()),
        }
    }

    /// Text of the line in which a span starts.
    pub(crate) fn line(&self, span: Span) -> &str {
        let file = &self.files[span.file];
        let line = file.lines.partition_point(|&first| first <= span.start);
        let first = file.lines[line.max(1) - 1];
        file.text[first..].lines().next().unwrap_or("")
    }
}

/// The last character boundary at or before `index`.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let set = SpecSet::new([("a.toml", "# ä\r\nk = \"äx\"\n")]);
        let file = set.find("a").expect("given");
        let start = set.file_text(file).find('x').expect("there");
        let span = Span {
            file,
            start,
            end: start + 1,
        };
        let at = set.at(span);
        assert_eq!((at.line, at.column, at.len), (2, 7, 1));
        assert_eq!(set.line(span), "k = \"äx\"");
    }

    #[test]
    fn underscore_files_are_no_specs() {
        let set = SpecSet::new([("b", ""), ("_storage", ""), ("a.toml", "")]);
        assert_eq!(set.stems().collect::<Vec<_>>(), ["a", "b"]);
        assert!(
            set.text("_prelude")
                .is_some_and(|text| text.contains("vocab_size"))
        );
    }
}
