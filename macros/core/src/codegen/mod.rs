//! From a checked architecture to a Rust module.

mod attn;
mod config;
mod doc;
mod expr;
mod forward;
mod imports;
mod layer;
mod mlp;
mod model;
mod moe;
mod names;
mod norm;
mod options;
mod rope;
mod rows;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;

use self::names::{Namer, camel, ident, snake, upper};
use crate::diagnostic::{Diagnostic, Severity};
use crate::ir::{Architecture, Format, Name, NormOptions, Type};
use crate::source::SpecSet;

/// The modules of all architectures of a set, `ARCHITECTURES` and `SPECS`.
///
/// # Errors
/// All mistakes of the specs.
pub fn expand(set: &SpecSet) -> Result<TokenStream, Vec<Diagnostic>> {
    let (architectures, diagnostics) = crate::load(set);
    if diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(diagnostics);
    }
    let mut namer = Namer::default();
    let names: Vec<_> = architectures
        .iter()
        .map(|arch| namer.take(&snake(&arch.stem), ""))
        .collect();
    let modules = architectures
        .iter()
        .zip(&names)
        .map(|(arch, name)| module(arch, name));
    let stems = set.stems().chain(["_prelude", "_storage"]);
    let specs = stems.filter_map(|stem| set.text(stem).map(|text| quote!((#stem, #text))));
    Ok(quote! {
        #(#modules)*

        /// All architectures, one per spec.
        pub const ARCHITECTURES: &[::inferno_runtime::nn::Architecture] = &[#(#names::ARCHITECTURE),*];

        /// The specs they were generated from: name and text.
        pub const SPECS: &[(&str, &str)] = &[#(#specs),*];
    })
}

/// The module of one architecture.
#[must_use]
pub fn expand_one(arch: &Architecture) -> TokenStream {
    module(arch, &ident(&snake(&arch.stem)))
}

/// The module `name` of one architecture.
fn module(arch: &Architecture, name: &Ident) -> TokenStream {
    let mut module = Module::new(arch);
    let embed = model::embedding(&mut module);
    let layer = layer::layer(&mut module);
    let model = model::model(&mut module, embed);
    let (when, conditions) = config::condition(&module);
    let architecture = model::architecture(&module, &conditions);
    let config = config::config(&module);
    let norm_options = norm::options_function(&module);
    let (constants, rope) = (&module.constants, &module.rope);
    let body = quote! {
        #architecture
        #(#constants)*
        #config
        #when
        #norm_options
        #rope
        #layer
        #model
    };
    let imports = imports::imports(&body);
    let mut lines = arch
        .doc
        .iter()
        .map(|line| doc::escape(line))
        .collect::<Vec<_>>();
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(format!("Generated from `model-spec/{}.toml`.", arch.stem));
    let text = doc::doc(&lines.join("\n"));
    quote! {
        #text
        pub mod #name {
            #imports
            #body
        }
    }
}

/// A module under construction.
struct Module<'a> {
    arch: &'a Architecture,
    idents: Idents,
    types: Namer,
    constant_names: Namer,
    constants: Vec<TokenStream>,
    storages: HashMap<String, Ident>,
    norm_options: Option<NormOptions>,
    /// `fn rope`, once some attention uses it, and its arguments.
    rope: Option<TokenStream>,
    rope_arguments: Vec<Ident>,
}

impl<'a> Module<'a> {
    fn new(arch: &'a Architecture) -> Self {
        let mut types = Namer::types();
        // The model's own type is named first.
        let _ = types.take(&camel(&arch.stem), "Model");
        Self {
            arch,
            idents: Idents::new(arch),
            types,
            constant_names: Namer::with(&["ARCHITECTURE"]),
            constants: Vec::new(),
            storages: HashMap::new(),
            norm_options: norm::shared(arch),
            rope: None,
            rope_arguments: Vec::new(),
        }
    }

    /// The type of the model.
    fn model_type(&self) -> Ident {
        Namer::types().take(&camel(&self.arch.stem), "Model")
    }

    /// The constant of a `[storage]` table.
    fn storage(&mut self, name: &str, value: TokenStream) -> Ident {
        if let Some(ident) = self.storages.get(name) {
            return ident.clone();
        }
        let ident = self
            .constant_names
            .take(&format!("{}_STORAGE", upper(name)), "");
        let text = doc::doc(&format!("`[storage.{name}]`"));
        self.constants
            .push(quote!(#text const #ident: Storage = #value;));
        self.storages.insert(name.to_owned(), ident.clone());
        ident
    }

    /// A constant for a tensor name, named after `parts`.
    fn constant(&mut self, parts: &str, suffix: &str, name: &Name) -> Ident {
        let ident = self.constant_names.take(&upper(parts), suffix);
        let spell = |spelling: &Option<String>, served: bool| {
            spelling.clone().filter(|_| served).unwrap_or_default()
        };
        let hf = spell(&name.names.hf, self.idents.hf);
        let gguf = spell(&name.names.gguf, self.idents.gguf);
        let at = format!("{}:{}", name.at.file, name.at.line);
        self.constants
            .push(quote!(const #ident: Name = Name::new([#hf, #gguf], #at);));
        ident
    }
}

/// Whether an identifier occurs.
fn mentions(tokens: &TokenStream, name: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(&group.stream(), name),
        _ => false,
    })
}

/// Identifiers of what expressions read.
#[derive(Debug)]
pub(crate) struct Idents {
    /// The spec serves config.json and safetensors.
    hf: bool,
    /// The spec serves GGUF.
    gguf: bool,
    fields: HashMap<String, (Ident, Type)>,
    lets: HashMap<String, (Ident, bool)>,
}

impl Idents {
    fn new(arch: &Architecture) -> Self {
        let mut methods = Namer::default();
        let mut fields = HashMap::new();
        for field in &arch.fields {
            fields.insert(
                field.name.clone(),
                (methods.take(&snake(&field.name), ""), field.ty),
            );
        }
        let mut lets = HashMap::new();
        for item in &arch.lets {
            lets.insert(
                item.name.clone(),
                (methods.take(&snake(&item.name), "_here"), item.per_layer),
            );
        }
        let serves = |format| arch.formats.contains(&format);
        Self {
            hf: serves(Format::Hf),
            gguf: serves(Format::Gguf),
            fields,
            lets,
        }
    }

    /// The method of a config field.
    fn field(&self, name: &str) -> Ident {
        self.fields
            .get(name)
            .map_or_else(|| ident(&snake(name)), |(ident, _)| ident.clone())
    }

    /// Its type.
    fn field_type(&self, name: &str) -> Type {
        self.fields.get(name).map_or(Type::Str, |(_, ty)| *ty)
    }

    /// The method of a `let`, and whether it takes the layer.
    fn named(&self, name: &str) -> (Ident, bool) {
        self.lets
            .get(name)
            .cloned()
            .unwrap_or_else(|| (ident(&snake(name)), false))
    }
}
