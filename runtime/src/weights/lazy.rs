//! Bytes that are not there: a GPU's loader makes them on the device, and whoever reads them makes them here.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::random::Filler;
use super::{Bytes, WeightDtype, joined_mxfp4};

/// Bytes of an MXFP4 block without its scale.
const NIBBLES: usize = 16;

/// How bytes are made.
#[derive(Clone, Debug)]
pub(crate) enum Recipe {
    /// Out of a seed.
    Random(Filler),
    /// Blocks as ggml has them, out of nibbles and scales that lie apart.
    Mxfp4 { nibbles: Bytes, scales: Bytes },
    /// Rows in another order: row `order[r]` is row r.
    Rows {
        of: Bytes,
        row_bytes: usize,
        order: Arc<[u32]>,
    },
}

/// A recipe and what it has made.
#[derive(Debug)]
pub(super) struct Lazy {
    recipe: Recipe,
    len: usize,
    made: OnceLock<Vec<u8>>,
}

impl Lazy {
    pub(super) fn new(recipe: Recipe, len: usize) -> Self {
        let made = OnceLock::new();
        Self { recipe, len, made }
    }

    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// All of them; none if there is no memory for random ones.
    pub(super) fn made(&self) -> &[u8] {
        self.made.get_or_init(|| match &self.recipe {
            Recipe::Random(filler) => filler.make(self.len).unwrap_or_default(),
            Recipe::Mxfp4 { nibbles, scales } => joined_mxfp4(nibbles, scales),
            Recipe::Rows {
                of,
                row_bytes,
                order,
            } => {
                let row = |row: u32| &of[row as usize * row_bytes..][..*row_bytes];
                order.iter().flat_map(|r| row(*r)).copied().collect()
            }
        })
    }
}

/// Blocks of a matrix as a loader takes them: units one after the other, each a block, or a row where rows have an order.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    /// Blocks as in the file.
    Blocks(Stream),
    /// MXFP4: nibbles as safetensors have them (elements 2j and 2j + 1 in byte j), and scales.
    Mxfp4([Stream; 2]),
}

/// Units of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) content: Content,
    /// Bytes of a unit.
    pub(crate) unit: usize,
    /// Unit `order[u]` of the content is unit u; `None` is as they lie.
    pub(crate) order: Option<(Arc<[u32]>, Range<usize>)>,
}

/// Where a stream's units come from.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Memory of the host, or pages of a file.
    Host(Bytes),
    /// Random numbers, the first one's place in bytes.
    Random(Filler, usize),
}

impl Stream {
    fn host(bytes: Bytes, unit: usize) -> Self {
        let content = Content::Host(bytes);
        let order = None;
        Self {
            content,
            unit,
            order,
        }
    }

    /// The content's units `of` bytes in an order.
    fn ordered(self, unit: usize, order: &Arc<[u32]>, range: &Range<usize>) -> Self {
        Self {
            unit,
            order: Some((Arc::clone(order), range.clone())),
            ..self
        }
    }
}

impl Layout {
    /// How blocks of a type are to be taken.
    pub(crate) fn of(bytes: &Bytes, dtype: WeightDtype) -> Self {
        let plain = || Self::Blocks(Stream::host(bytes.clone(), dtype.block_bytes()));
        Self::by_recipe(bytes, dtype).unwrap_or_else(plain)
    }

    /// Blocks as whoever reads them sees them.
    pub(crate) fn plain(bytes: &Bytes, dtype: WeightDtype) -> Self {
        Self::Blocks(Stream::host(bytes.clone(), dtype.block_bytes()))
    }

    /// `None` for bytes that are there and for what a loader cannot make.
    fn by_recipe(bytes: &Bytes, dtype: WeightDtype) -> Option<Self> {
        let (recipe, range) = bytes.recipe()?;
        match recipe {
            Recipe::Random(filler) => Some(Self::Blocks(Stream {
                content: Content::Random(*filler, range.start),
                unit: dtype.block_bytes(),
                order: None,
            })),
            Recipe::Mxfp4 { nibbles, scales } => {
                let blocks = whole(&range, WeightDtype::Mxfp4.block_bytes())?;
                let nibbles = nibbles.slice(blocks.start * NIBBLES..blocks.end * NIBBLES)?;
                let scales = scales.slice(blocks)?;
                Some(Self::Mxfp4([plane(&nibbles, NIBBLES)?, plane(&scales, 1)?]))
            }
            Recipe::Rows {
                of,
                row_bytes,
                order,
            } => {
                let rows = whole(&range, *row_bytes)?;
                match Self::of(of, dtype) {
                    Self::Blocks(stream) if stream.order.is_none() => {
                        Some(Self::Blocks(stream.ordered(*row_bytes, order, &rows)))
                    }
                    Self::Mxfp4([nibbles, scales]) if nibbles.order.is_none() => {
                        let blocks = row_bytes / WeightDtype::Mxfp4.block_bytes();
                        Some(Self::Mxfp4([
                            nibbles.ordered(blocks * NIBBLES, order, &rows),
                            scales.ordered(blocks, order, &rows),
                        ]))
                    }
                    _ => None,
                }
            }
        }
    }

    /// The streams, in the order of the types' planes.
    pub(crate) fn streams(&self) -> &[Stream] {
        match self {
            Self::Blocks(stream) => std::slice::from_ref(stream),
            Self::Mxfp4(streams) => streams,
        }
    }

    /// Bytes of a unit in all streams.
    pub(crate) fn unit(&self) -> usize {
        self.streams().iter().map(|stream| stream.unit).sum()
    }
}

/// Nibbles or scales by themselves; `None` if they are made of something else.
fn plane(bytes: &Bytes, unit: usize) -> Option<Stream> {
    match bytes.recipe() {
        None => Some(Stream::host(bytes.clone(), unit)),
        Some((Recipe::Random(filler), range)) => Some(Stream {
            content: Content::Random(*filler, range.start),
            unit,
            order: None,
        }),
        Some(_) => None,
    }
}

/// A range of bytes as one of units; `None` if it cuts one.
fn whole(range: &Range<usize>, unit: usize) -> Option<Range<usize>> {
    let is_whole = unit > 0 && range.start.is_multiple_of(unit) && range.end.is_multiple_of(unit);
    is_whole.then(|| range.start / unit..range.end / unit)
}

#[cfg(test)]
mod tests {
    use super::super::Matrix;
    use super::super::random::{Form, filler};
    use super::*;

    fn nibbles_and_scales(blocks: usize) -> (Bytes, Bytes) {
        let nibbles: Vec<u8> = (0..blocks * NIBBLES).map(|i| (i * 31) as u8).collect();
        let scales: Vec<u8> = (0..blocks).map(|i| (i * 7) as u8).collect();
        (nibbles.into(), scales.into())
    }

    /// A unit's bytes as the loader takes them.
    fn unit(stream: &Stream, index: usize) -> Vec<u8> {
        let index = match &stream.order {
            Some((order, range)) => order[range.start + index] as usize,
            None => index,
        };
        let range = index * stream.unit..(index + 1) * stream.unit;
        match &stream.content {
            Content::Host(bytes) => bytes[range].to_vec(),
            Content::Random(filler, start) => {
                filler.make(start + range.end).unwrap()[start + range.start..].to_vec()
            }
        }
    }

    #[test]
    fn rows_of_joined_blocks_are_rows_of_both_planes() {
        let (nibbles, scales) = nibbles_and_scales(24);
        let eager = joined_mxfp4(&nibbles, &scales);
        let all = Bytes::lazy(Recipe::Mxfp4 { nibbles, scales }, 24 * 17);
        // The second of two experts of six rows of two blocks.
        let expert = Matrix::new(
            6,
            64,
            WeightDtype::Mxfp4,
            all.slice(12 * 17..24 * 17).unwrap(),
        );
        let selected = expert.unwrap().with_rows(&[5, 0, 2, 2]).unwrap();
        let Layout::Mxfp4(streams) = Layout::of(selected.data(), WeightDtype::Mxfp4) else {
            panic!("MXFP4 in two planes")
        };
        for (r, row) in [5, 0, 2, 2].into_iter().enumerate() {
            let [nibbles, scales] = [unit(&streams[0], r), unit(&streams[1], r)];
            let expected = &eager[(12 + 2 * row) * 17..][..34];
            assert_eq!(joined_mxfp4(&nibbles, &scales), expected, "row {r}");
            // And read here.
            assert_eq!(&selected.data()[r * 34..][..34], expected);
        }
    }

    #[test]
    fn random_bytes_are_the_same_wherever_they_are_made() {
        let form = Form::Numbers(WeightDtype::Q8_0);
        let filler = filler(1, "a", &[8, 64], form).unwrap();
        let eager = filler.make(8 * 68).unwrap();
        let lazy = Bytes::lazy(Recipe::Random(filler), 8 * 68);
        let rows = Matrix::new(
            4,
            64,
            WeightDtype::Q8_0,
            lazy.slice(4 * 68..8 * 68).unwrap(),
        );
        let selected = rows.unwrap().with_rows(&[3, 1]).unwrap();
        let Layout::Blocks(stream) = Layout::of(selected.data(), WeightDtype::Q8_0) else {
            panic!("Q8_0 in one stream")
        };
        assert!(matches!(stream.content, Content::Random(_, at) if at == 4 * 68));
        for (r, row) in [7, 5].into_iter().enumerate() {
            assert_eq!(unit(&stream, r), &eager[row * 68..][..68]);
        }
        assert_eq!(&lazy[..], &eager[..]);
    }

    #[test]
    fn neighbours_are_one_and_cut_units_are_read_here() {
        let (nibbles, scales) = nibbles_and_scales(4);
        let all = Bytes::lazy(Recipe::Mxfp4 { nibbles, scales }, 68);
        let [a, b] = [0..34, 34..68].map(|range| all.slice(range).unwrap());
        let both = a.followed_by(&b).unwrap();
        assert_eq!(both.len(), 68);
        assert!(b.followed_by(&a).is_none() && a.followed_by(&a).is_none());
        let cut = Layout::of(&all.slice(1..18).unwrap(), WeightDtype::Mxfp4);
        assert!(matches!(cut, Layout::Blocks(_)));
    }
}
