//! An `if` of the steps in the forward pass: a `match` on the layer's enum, or an `if` on its bool.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::super::layer::{Shape, Slot};
use super::super::steps::{Id, Part, ScopeId};
use super::{Access, Writer};

impl Writer<'_> {
    pub(super) fn choose(&mut self, choice: usize) -> TokenStream {
        let (Some(made), Some(shape)) = (
            self.layout.graph.choices.get(choice),
            self.layout.shapes.get(choice),
        ) else {
            return quote!(x.clone());
        };
        for call in made.common.clone() {
            self.named(call);
        }
        let index = self
            .layout
            .graph
            .parts
            .iter()
            .position(|part| *part == Part::Choice(choice))
            .unwrap_or_default();
        let access = self.access(index).cloned();
        let place = self.part(index);
        let reference = access.is_some_and(|access| access.reference || access.optional);
        let [yes, no] = made.arms;
        match shape {
            Shape::Bool => {
                let place = if reference { quote!(*#place) } else { place };
                let (yes, no) = (self.arm(yes, &[]), self.arm(no, &[]));
                let no = if no.1 {
                    let code = no.0;
                    quote!(#code)
                } else {
                    let code = no.0;
                    quote!({ #code })
                };
                let yes = yes.0;
                quote!(if #place { #yes } else #no)
            }
            Shape::Enum(name, variants) => {
                let place = if reference { place } else { quote!(&#place) };
                let arms = variants.iter().zip([yes, no]).map(|(variant, arm)| {
                    let slots = self.layout.slots(arm.0).to_vec();
                    let bound: Vec<_> = slots
                        .iter()
                        .map(|slot| self.free(&slot.name.to_string()))
                        .collect();
                    let code = self.arm(arm, &bound).0;
                    let pattern = pattern(variant, &slots, &bound);
                    quote!(#name::#pattern => { #code })
                });
                let arms: Vec<_> = arms.collect();
                quote!(match #place { #(#arms)* })
            }
        }
    }

    /// The body of an arm, and whether it is an `if` alone.
    fn arm(&mut self, (scope, result): (ScopeId, Id), bound: &[Ident]) -> (TokenStream, bool) {
        let outer = std::mem::take(&mut self.statements);
        let (names, access, pinned) =
            (self.names.clone(), self.access.clone(), self.pinned.clone());
        let slots = self.layout.slots(scope);
        for (slot, name) in slots.iter().zip(bound) {
            let place = Access {
                place: quote!(#name),
                reference: true,
                optional: slot.optional.is_some(),
            };
            self.access.insert(slot.part, place);
            self.pinned.push(name.to_string());
        }
        let result = self.result(result);
        let statements = std::mem::replace(&mut self.statements, outer);
        (self.names, self.access, self.pinned) = (names, access, pinned);
        let alone = statements.is_empty()
            && result
                .clone()
                .into_iter()
                .next()
                .is_some_and(|first| first.to_string() == "if");
        (quote!(#(#statements)* #result), alone)
    }
}

fn pattern(variant: &Ident, slots: &[Slot], bound: &[Ident]) -> TokenStream {
    match (slots, bound) {
        ([], _) => quote!(#variant),
        ([_], [name]) => quote!(#variant(#name)),
        _ => {
            let fields = slots.iter().zip(bound).map(|(slot, name)| {
                let field = &slot.name;
                if field == name {
                    quote!(#name)
                } else {
                    quote!(#field: #name)
                }
            });
            quote!(#variant { #(#fields),* })
        }
    }
}
