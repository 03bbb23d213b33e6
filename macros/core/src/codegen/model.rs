//! The model's own struct: embedding, layers, head; and the `ARCHITECTURE` constant.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::expr::{Exprs, Place};
use super::options::{Field, Setting, bind, constant};
use super::{Module, doc, mlp, norm};
use crate::ir::{Format, NormInstance, PerFormat, Tied, Value};

/// What the embedding contributes to the model.
pub(super) struct Embedding {
    embed: Field,
    norm: Option<Field>,
}

/// The embedding's fields; names its constants.
pub(super) fn embedding(module: &mut Module) -> Embedding {
    let embed = &module.arch.embed;
    let tokens = module.constant("tokens", "_NAME", &embed.tokens);
    let positions = embed
        .positions
        .as_ref()
        .map(|(name, offset)| (module.constant("positions", "_NAME", name), offset));
    let exprs = Exprs::new(&module.idents, Place::Load);
    let scale = exprs.number(&embed.scale);
    let positions = positions.map_or(quote!(None), |(name, offset)| {
        let field = module.idents.field("max_positions");
        let (rows, offset) = match no_offset(offset) {
            true => (quote!(cfg.#field()?), quote!(0)),
            false => {
                let offset = exprs.number(offset);
                let rows = quote!(cfg.#field()? + #offset);
                (rows, quote!(count("embed.offset", #offset)?))
            }
        };
        quote!(Some((#name, size("max_positions", #rows)?, #offset)))
    });
    let value = quote! {
        Embedding::load(w, #tokens, EmbeddingOptions { vocab, hidden, scale: #scale, positions: #positions })?
    };
    let text = format!(
        "{}: `[vocab_size, hidden_size]`",
        doc::spellings([&embed.tokens])
    );
    let embed_norm = embed
        .norm
        .as_ref()
        .map(|instance| norm_field(module, instance, "embed_norm"));
    Embedding {
        embed: Field::new("embed", quote!(Embedding), text, value),
        norm: embed_norm,
    }
}

fn no_offset(offset: &Value) -> bool {
    [&offset.hf, &offset.gguf]
        .iter()
        .all(|expr| constant(expr) == Some(0.0))
}

/// A norm outside the layers.
fn norm_field(module: &mut Module, instance: &NormInstance, name: &str) -> Field {
    let constant = if name == "norm" { "output_norm" } else { name };
    let value = norm::load(module, instance, constant);
    Field::new(name, quote!(Norm), norm::text(instance), value)
}

/// The struct, its `load` and its `forward`.
pub(super) fn model(module: &mut Module, embedding: Embedding) -> TokenStream {
    let name = module.model_type();
    let head = &module.arch.head;
    let mut fields = vec![embedding.embed];
    fields.extend(embedding.norm);
    let embed_norm = fields.len() > 1;
    let layers = module.idents.field("num_layers");
    fields.push(Field::new(
        "layers",
        quote!(Vec<Layer>),
        "",
        quote!(per_layer(cfg.#layers()?, |i| Layer::load(cfg, i, w))?),
    ));
    fields.push(norm_field(module, &head.norm, "norm"));
    let (out, tied) = out(module);
    fields.push(out);
    let exprs = Exprs::new(&module.idents, Place::Load);
    let scale = match Setting::number(&exprs, &head.scale, false) {
        Setting::Literal(one) if one.to_string() == "1.0" => quote!(),
        scale => scale.call(&mut fields, "logit_scale", "scale", "Factor of the logits."),
    };
    let softcap = Setting::number(&exprs, &head.softcap, true);
    let softcap = softcap.call(&mut fields, "softcap", "softcap", "Cap of the logits.");
    let lets = lets(module, &mut fields, tied);
    let names = fields.iter().map(|field| &field.name);
    let body = bind(&lets, quote!(Ok(Self { #(#names),* })));
    let declared = fields.iter().map(Field::declare);
    let text = doc::doc(&format!("The `{}` model.", module.arch.stem));
    let embed_norm = embed_norm.then(|| quote!(x = self.embed_norm.forward(&x, step)?;));
    let forward = quote! {
        /// Token ids of the step → `[rows, vocab_size]`
        fn forward(&self, step: &mut Step) -> Result<Logits> {
            let mut x = self.embed.forward(step)?;
            #embed_norm
            for layer in &self.layers {
                layer.forward(&mut x, step)?;
            }
            let x = step.wanted(x)?;
            let x = self.norm.forward(&x, step)?;
            step.logits(&self.out, x)#scale #softcap.run()
        }
    };
    quote! {
        #text
        #[derive(Debug)]
        pub struct #name { #(#declared),* }

        impl #name {
            fn load(w: &mut Weights) -> Result<Self> { #body }
        }

        impl Model for #name {
            #forward
        }
    }
}

/// What `load` binds: sizes, then every field in turn, because the head needs the embedding.
fn lets(module: &Module, fields: &mut [Field], tied: TokenStream) -> Vec<(Ident, TokenStream)> {
    let vocab = module.idents.field("vocab_size");
    let mut lets = vec![
        (format_ident!("cfg"), quote!(&Config(w.config()))),
        (
            format_ident!("vocab"),
            quote!(size("vocab_size", cfg.#vocab()?)?),
        ),
        mlp::hidden(module),
    ];
    for field in fields {
        if field.name == "out" {
            lets.push((format_ident!("tied"), tied.clone()));
        }
        lets.push((field.name.clone(), std::mem::take(&mut field.value)));
    }
    lets
}

/// The head's projection, and whether it is the embedding.
fn out(module: &mut Module) -> (Field, TokenStream) {
    let head = &module.arch.head;
    let out = module.constant("out", "_NAME", &head.out);
    let exprs = Exprs::new(&module.idents, Place::Load);
    let tied = exprs.per_format(&head.tied, |tied| match tied {
        Tied::Expr(expr) => exprs.condition(expr),
        Tied::AbsentOut => quote!(w.absent(#out)),
    });
    let bias = exprs.boolean(&head.bias);
    let value = quote!(Linear::head(w, #out, &embed, tied, vocab, hidden, #bias)?);
    let spelled = doc::spellings([&head.out]);
    let text = format!("{spelled}: `[vocab_size, hidden_size]`");
    (Field::new("out", quote!(Linear), text, value), tied)
}

/// The `ARCHITECTURE` constant and the prefix of layers.
pub(super) fn architecture(module: &Module, conditions: &[TokenStream; 2]) -> TokenStream {
    let arch = module.arch;
    let (stem, model) = (&arch.stem, module.model_type());
    let (serves_hf, serves_gguf) = (module.idents.hf, module.idents.gguf);
    let list = |names: &[String], served: bool| {
        let names = names.iter().filter(|_| served);
        quote!(&[#(#names),*])
    };
    let (hf, gguf) = (
        list(&arch.hf_names, serves_hf),
        list(&arch.gguf_names, serves_gguf),
    );
    let formats = arch.formats.iter().map(|format| match format {
        Format::Hf => quote!(Format::Hf),
        Format::Gguf => quote!(Format::Gguf),
    });
    let pair = |lists: &PerFormat<Vec<String>>| {
        let (hf, gguf) = (list(&lists.hf, serves_hf), list(&lists.gguf, serves_gguf));
        quote!([#hf, #gguf])
    };
    let (roots, ignore) = (pair(&arch.roots), pair(&arch.ignore));
    let limit = arch
        .fields
        .iter()
        .find(|field| field.name == "max_positions" && field.ty == crate::ir::Type::Number);
    let max_positions = limit.map_or(quote!(None), |field| {
        let field = module.idents.field(&field.name);
        quote!(Some(|file| Config(file).#field()))
    });
    let title = doc::doc(&format!(
        "How a checkpoint says that it is of `{stem}`, and what loads it."
    ));
    quote! {
        #title
        pub const ARCHITECTURE: Architecture = Architecture {
            name: #stem,
            hf: #hf,
            gguf: #gguf,
            formats: &[#(#formats),*],
            roots: #roots,
            ignore: #ignore,
            condition: [#(#conditions),*],
            tokens: TOKENS,
            max_positions: #max_positions,
            load: |w| Ok(Box::new(#model::load(w)?)),
        };
    }
}

/// `const LAYER`: where a layer's tensors are.
pub(super) fn layer_prefix(module: &mut Module) -> TokenStream {
    let name = module.constant_names.take("LAYER", "_PREFIX");
    let prefix = &module.arch.layer_prefix.names;
    let spell = |prefix: &Option<String>, served: bool| {
        prefix.clone().filter(|_| served).unwrap_or_default()
    };
    let (hf, gguf) = (
        spell(&prefix.hf, module.idents.hf),
        spell(&prefix.gguf, module.idents.gguf),
    );
    module
        .constants
        .push(quote!(const #name: [&str; 2] = [#hf, #gguf];));
    quote!(#name)
}
