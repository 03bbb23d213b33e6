//! The GGUF models of a repository: which files are one, and which one is meant.

use super::listing::RemoteFile;
use super::name::FilePath;

/// A model in one GGUF file or in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GgufModel<T> {
    /// Its parts in order; at least one.
    pub(super) parts: Vec<T>,
    /// Path of the first part.
    pub(super) first: String,
    /// How many parts there are by their names.
    pub(super) count: u32,
}

/// What has the path of a file in a repository.
pub(super) trait HasPath {
    fn path(&self) -> &str;
}

impl HasPath for RemoteFile {
    fn path(&self) -> &str {
        self.path.as_str()
    }
}

impl HasPath for FilePath {
    fn path(&self) -> &str {
        self.as_str()
    }
}

/// The models among the files, sorted by path. What belongs to a model without being one (`mmproj`, importance matrices) is
/// left out.
pub(super) fn models<T: HasPath + Clone>(files: &[T]) -> Vec<GgufModel<T>> {
    let mut models: Vec<GgufModel<T>> = Vec::new();
    let mut sorted: Vec<&T> = files.iter().filter(|file| is_model(file.path())).collect();
    sorted.sort_by(|a, b| a.path().cmp(b.path()));
    for file in sorted {
        let (stem, count) = match split(file.path()) {
            Some((stem, _, count)) => (stem, count),
            None => (file.path(), 1),
        };
        let same = |model: &&mut GgufModel<T>| {
            let known = split(&model.first).map(|(stem, _, count)| (stem, count));
            count > 1 && known == Some((stem, count))
        };
        match models.iter_mut().find(same) {
            Some(model) => model.parts.push(file.clone()),
            None => models.push(GgufModel {
                parts: vec![file.clone()],
                first: file.path().into(),
                count,
            }),
        }
    }
    models
}

fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    name.ends_with(".gguf") && !name.starts_with("mmproj") && !name.contains("imatrix")
}

/// `name-00002-of-00003.gguf`: what comes before, the number, the count.
pub(super) fn split(path: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits(number) && digits(count))
        .then(|| Some((stem, number.parse().ok()?, count.parse().ok()?)))?
}

impl<T: HasPath> GgufModel<T> {
    /// The path without the part's number and the ending.
    fn stem(&self) -> &str {
        match split(&self.first) {
            Some((stem, ..)) => stem,
            None => self
                .first
                .rsplit_once('.')
                .map_or(&self.first, |(stem, _)| stem),
        }
    }

    /// Whether a name on the command line means this model: a path, a file's name, or how the name ends (`Q4_K_M`).
    fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let stem = self.stem().to_lowercase();
        let file = stem.rsplit('/').next().unwrap_or(&stem);
        let is_path = self.parts.iter().any(|part| {
            let path = part.path().to_lowercase();
            path == name || path.rsplit('/').next() == Some(&name)
        });
        // `tiny_q4_0` ends with a quantization, but the `m` of `tiny-q4_k_m` is none.
        let before: &[char] = if is_quantization(&name) {
            &['-', '.', '_']
        } else {
            &['-', '.']
        };
        let is_end = file
            .strip_suffix(&name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(before));
        is_path || is_end || stem == name
    }

    /// The parts that the names promise and nobody has.
    pub(super) fn missing(&self) -> Vec<String> {
        let Some((stem, _, count)) = split(&self.first) else {
            return Vec::new();
        };
        let has = |path: &String| self.parts.iter().any(|part| part.path() == path);
        (1..=count.min(1000))
            .map(|number| format!("{stem}-{number:05}-of-{count:05}.gguf"))
            .filter(|path| !has(path))
            .collect()
    }

    /// The quantization that the name ends with, if it is one that no kernel here reads.
    pub(super) fn unread_quantization(&self) -> Option<&'static str> {
        let name = self.stem().to_uppercase();
        let tokens = name.split(['-', '.', '/']);
        let mut kinds = tokens.filter_map(|token| {
            ["IQ1_", "IQ2_", "IQ3_", "IQ4_", "TQ1_", "TQ2_"]
                .into_iter()
                .find(|kind| token.starts_with(kind))
        });
        kinds.next().map(|kind| &kind[..kind.len() - 1])
    }
}

/// `q4_k_m`, `iq4_xs`, `f16` and the like, in lower case.
fn is_quantization(name: &str) -> bool {
    let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    ["q", "iq", "tq", "f", "bf", "mxfp"]
        .iter()
        .any(|kind| name.strip_prefix(kind).is_some_and(digit))
}

/// The model that a name means: the only one, if nothing is asked for. `None`: none, or several.
pub(super) fn choose<'a, T: HasPath>(
    models: &'a [GgufModel<T>],
    name: Option<&str>,
) -> Option<&'a GgufModel<T>> {
    let Some(name) = name else {
        return match models {
            [only] => Some(only),
            _ => None,
        };
    };
    let called: Vec<_> = models
        .iter()
        .filter(|model| model.is_called(name))
        .collect();
    match called[..] {
        [only] => Some(only),
        _ => called.into_iter().find(|model| model.first == name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<FilePath> {
        names
            .iter()
            .map(|name| FilePath::new(name).expect("a path"))
            .collect()
    }

    #[test]
    fn models_are_chosen_by_file_or_quantization() {
        let files = files(&[
            "README.md",
            "tiny-Q4_K_M.gguf",
            "tiny-Q4_K_S.gguf",
            "tiny-UD-Q4_K_XL.gguf",
            "tiny.q8_0.gguf",
            "mmproj-F16.gguf",
            "BF16/tiny-BF16-00001-of-00002.gguf",
            "BF16/tiny-BF16-00002-of-00002.gguf",
            "tiny-IQ4_XS.gguf",
        ]);
        let models = models(&files);
        assert_eq!(models.len(), 6);
        for (name, first) in [
            ("Q4_K_M", Some("tiny-Q4_K_M.gguf")),
            ("q4_k_m", Some("tiny-Q4_K_M.gguf")),
            ("tiny-Q4_K_M.gguf", Some("tiny-Q4_K_M.gguf")),
            ("UD-Q4_K_XL", Some("tiny-UD-Q4_K_XL.gguf")),
            ("Q8_0", Some("tiny.q8_0.gguf")),
            ("BF16", Some("BF16/tiny-BF16-00001-of-00002.gguf")),
            (
                "BF16/tiny-BF16-00002-of-00002.gguf",
                Some("BF16/tiny-BF16-00001-of-00002.gguf"),
            ),
            ("Q4", None),
            ("M", None),
            ("Q2_K", None),
            ("mmproj-F16.gguf", None),
        ] {
            let chosen = choose(&models, Some(name)).map(|model| model.first.as_str());
            assert_eq!(chosen, first, "{name}");
        }
        assert!(choose(&models, None).is_none());
        assert!(choose(&models[..1], None).is_some());
        let unread: Vec<_> = models
            .iter()
            .filter_map(GgufModel::unread_quantization)
            .collect();
        assert_eq!(unread, ["IQ4"]);
    }

    #[test]
    fn missing_parts_are_known() {
        let files = files(&["a-00001-of-00003.gguf", "a-00003-of-00003.gguf"]);
        let models = models(&files);
        assert_eq!(models.len(), 1);
        assert_eq!(models[0].missing(), ["a-00002-of-00003.gguf"]);
    }
}
