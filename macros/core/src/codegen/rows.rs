//! Row layouts of fused matrices.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::expr::Exprs;
use super::options::one_size;
use crate::ir::{Groups, Rows};

/// A layout as `Rows`; `order` is what the result shall be, `rows` the number of rows of a part.
pub(super) fn rows(
    exprs: &Exprs,
    layout: &Rows,
    order: &[&str],
    rows: impl Fn(&str) -> TokenStream,
) -> TokenStream {
    let sizes: Vec<_> = layout.parts.iter().map(|part| rows(part)).collect();
    let made = match &layout.groups {
        Groups::Blocks => quote!(Rows::blocks(&[#(#sizes),*])),
        Groups::Interleaved => quote!(Rows::interleaved(&[#(#sizes),*])),
        Groups::Count(count) => {
            let count = one_size(exprs, count, "rows");
            quote!(Rows::grouped(#count, &[#(#sizes),*]))
        }
    };
    let wanted: Vec<_> = order
        .iter()
        .filter_map(|part| layout.parts.iter().position(|other| other == part))
        .collect();
    if wanted.iter().copied().eq(0..layout.parts.len()) {
        return made;
    }
    let wanted = wanted.into_iter().map(Literal::usize_unsuffixed);
    quote!(#made.order(&[#(#wanted),*]))
}
