//! A decoder layer: which parts it holds, under which condition, and how it loads them.

mod layout;

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

pub(super) use self::layout::{Layout, Shape, Slot};
use super::doc;
use super::expr::{Exprs, Place};
use super::names::camel;
use super::options::{Field, bind};
use super::steps::Part;
use super::{Module, attn, forward, mlp, model, moe, norm};
use crate::ir::{Component, ComponentKind, Expr, ExprKind, Type};

/// All items of a layer: its components, its choices and the layer itself.
pub(super) fn layer(module: &mut Module) -> TokenStream {
    let prefix = model::layer_prefix(module);
    let layout = Layout::new(module);
    let mut loads = Loads {
        layout: &layout,
        values: HashMap::new(),
        types: HashMap::new(),
        docs: HashMap::new(),
    };
    let components = loads.parts(module);
    let choices = loads.enums(module);
    let fields: Vec<_> = layout
        .slots(0)
        .iter()
        .map(|slot| {
            let mut field = loads.field(module, slot);
            // The type says it; only the fields of variants, which are public, must have a doc.
            if matches!(layout.graph.parts.get(slot.part), Some(Part::Component(_))) {
                field.doc.clear();
            }
            field
        })
        .collect();
    let declared = fields.iter().map(Field::declare);
    let inits = fields.iter().map(Field::init);
    let body = bind(&[mlp::hidden(module)], quote!(Ok(Self { #(#inits),* })));
    let scoped = super::mentions(&body, "w").then(|| quote!(let w = &mut w.layer(#prefix, i);));
    let body = quote!(#scoped #body);
    // The model calls every layer alike.
    let underscore = |name: &str| {
        if super::mentions(&body, name) {
            format_ident!("{name}")
        } else {
            format_ident!("_{name}")
        }
    };
    let (cfg, i, w) = (underscore("cfg"), underscore("i"), underscore("w"));
    let forward = forward::forward(&layout, &module.arch.steps);
    quote! {
        #components
        #choices
        /// One decoder layer.
        #[derive(Debug)]
        pub struct Layer { #(#declared),* }

        impl Layer {
            fn load(#cfg: &Config, #i: usize, #w: &mut Weights) -> Result<Self> { #body }

            #forward
        }
    }
}

/// How every part is loaded.
struct Loads<'l> {
    layout: &'l Layout,
    values: HashMap<usize, TokenStream>,
    types: HashMap<usize, TokenStream>,
    docs: HashMap<usize, String>,
}

impl Loads<'_> {
    fn set(&mut self, part: usize, ty: TokenStream, text: String, value: TokenStream) {
        self.values.insert(part, value);
        self.types.insert(part, ty);
        self.docs.insert(part, text);
    }

    /// Norms, components and numbers; the items of the components. Constants come out in the order of the steps.
    fn parts(&mut self, module: &mut Module) -> TokenStream {
        let arch = module.arch;
        let mut items = quote!();
        for (index, part) in self.layout.graph.parts.iter().enumerate() {
            match part {
                Part::Norm(name) => {
                    let Some(instance) = arch.norms.iter().find(|norm| norm.ident == *name) else {
                        continue;
                    };
                    let value = norm::load(module, instance, name);
                    self.set(index, quote!(Norm), norm::text(instance), value);
                }
                Part::Component(name) => {
                    let Some(component) = arch
                        .components
                        .iter()
                        .find(|component| component.ident == *name)
                    else {
                        continue;
                    };
                    let calls = self.layout.graph.calls.get(name).copied().unwrap_or(1);
                    let (made, ty, arguments) = component_items(module, component, calls);
                    items = quote!(#items #made);
                    self.set(
                        index,
                        quote!(#ty),
                        format!("`[{name}]`"),
                        quote!(#ty::load(#(#arguments),*)?),
                    );
                }
                Part::Scalar(expr) => {
                    let value = Exprs::new(&module.idents, Place::Load)
                        .to(expr, Type::Number)
                        .value();
                    self.set(index, quote!(f64), format!("`{}`", doc::spec(expr)), value);
                }
                Part::Choice(_) => {}
            }
        }
        items
    }

    /// The enums of the choices, innermost first, and how a layer chooses.
    fn enums(&mut self, module: &Module) -> TokenStream {
        let mut items = Vec::new();
        for (index, choice) in self.layout.graph.choices.iter().enumerate().rev() {
            let Some(part) = self
                .layout
                .graph
                .parts
                .iter()
                .position(|part| *part == Part::Choice(index))
            else {
                continue;
            };
            let condition = Exprs::new(&module.idents, Place::Load).condition(&choice.condition);
            let text = format!("Whether `{}`.", doc::spec(&choice.condition));
            let Some(Shape::Enum(name, variants)) = self.layout.shapes.get(index) else {
                self.set(part, quote!(bool), text, condition);
                continue;
            };
            let mut declared = Vec::new();
            let mut values = Vec::new();
            for (variant, (scope, _)) in variants.iter().zip(choice.arms) {
                let fields: Vec<_> = self
                    .layout
                    .slots(scope)
                    .iter()
                    .map(|slot| self.field(module, slot))
                    .collect();
                let (declaration, value) = variant_of(variant, &fields);
                declared.push(declaration);
                values.push(quote!(#name::#value));
            }
            let condition_text = doc::spec(&choice.condition);
            let head = doc::doc(&format!("What a layer runs, by `{condition_text}`."));
            let texts = ["Where it holds.", "Elsewhere."].map(doc::doc);
            items.push(quote! {
                #head
                #[derive(Debug)]
                pub enum #name { #(#texts #declared),* }
            });
            let value = choose(&condition, &values);
            self.set(
                part,
                quote!(#name),
                format!("By `{condition_text}`."),
                value,
            );
        }
        items.into_iter().collect()
    }

    /// The field of a slot.
    fn field(&self, module: &Module, slot: &Slot) -> Field {
        let ty = self.types.get(&slot.part).cloned().unwrap_or(quote!(()));
        let value = self.values.get(&slot.part).cloned().unwrap_or(quote!(()));
        let text = self.docs.get(&slot.part).cloned().unwrap_or_default();
        let (ty, value) = match &slot.optional {
            None => (ty, value),
            Some(paths) => {
                let condition = self.any(module, paths);
                (
                    quote!(Option<#ty>),
                    quote!(if #condition { Some(#value) } else { None }),
                )
            }
        };
        Field {
            name: slot.name.clone(),
            ty,
            doc: text,
            value,
        }
    }

    /// Whether one of the paths is taken.
    fn any(&self, module: &Module, paths: &[Vec<(usize, usize)>]) -> TokenStream {
        let exprs = Exprs::new(&module.idents, Place::Load);
        let expr = |(choice, side): &(usize, usize)| {
            let condition = self.layout.graph.choices.get(*choice)?.condition.clone();
            let at = condition.at.clone();
            let kind = if *side == 0 {
                return Some(condition);
            } else {
                ExprKind::Not(Box::new(condition))
            };
            Some(Expr {
                kind,
                ty: Type::Bool,
                at,
            })
        };
        let binary = |op, a: Expr, b: Expr| {
            let at = a.at.clone();
            Expr {
                kind: ExprKind::Binary(op, Box::new(a), Box::new(b)),
                ty: Type::Bool,
                at,
            }
        };
        let mut seen: Vec<String> = Vec::new();
        let mut any: Option<Expr> = None;
        for path in paths {
            let all = path
                .iter()
                .filter_map(expr)
                .reduce(|a, b| binary(crate::ir::BinaryOp::And, a, b));
            let Some(all) = all.filter(|all| !seen.contains(&doc::spec(all))) else {
                continue;
            };
            seen.push(doc::spec(&all));
            any = Some(match any {
                Some(any) => binary(crate::ir::BinaryOp::Or, any, all),
                None => all,
            });
        }
        any.map_or(quote!(true), |any| exprs.condition(&any))
    }
}

/// `if condition { a } else { b }`, without nesting in the `else`.
fn choose(condition: &TokenStream, values: &[TokenStream]) -> TokenStream {
    match values {
        [yes, no] => quote!(if #condition { #yes } else { #no }),
        _ => quote!(),
    }
}

/// A variant's declaration and its value.
fn variant_of(variant: &Ident, fields: &[Field]) -> (TokenStream, TokenStream) {
    match fields {
        [] => (quote!(#variant), quote!(#variant)),
        [one] => {
            let (ty, value) = (&one.ty, &one.value);
            (quote!(#variant(#ty)), quote!(#variant(#value)))
        }
        fields => {
            let declared = fields.iter().map(Field::declare);
            let inits = fields.iter().map(Field::init);
            (
                quote!(#variant { #(#declared),* }),
                quote!(#variant { #(#inits),* }),
            )
        }
    }
}

/// The items of a component, its type and the arguments of its `load`.
fn component_items(
    module: &mut Module,
    component: &Component,
    calls: usize,
) -> (TokenStream, Ident, Vec<Ident>) {
    let name = module.types.take(&camel(&component.ident), "Block");
    let (before, made) = match &component.kind {
        ComponentKind::Gqa(gqa) => (
            quote!(),
            attn::attention(module, component, gqa, name.clone(), calls),
        ),
        ComponentKind::Mlp(mlp) => (
            quote!(),
            mlp::mlp(module, &component.ident, mlp, name.clone(), None),
        ),
        ComponentKind::Moe(moe) => moe::moe(module, component, moe, name.clone()),
    };
    let (items, arguments) = made.print();
    (quote!(#before #items), name, arguments)
}
