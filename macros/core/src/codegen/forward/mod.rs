//! The forward pass of a layer: the graph of its steps as statements.

mod choice;

use std::collections::HashMap;

use proc_macro2::{Ident, Literal, TokenStream, TokenTree};
use quote::quote;

use super::doc;
use super::expr::float;
use super::layer::{Layout, Slot};
use super::names::{ident, snake};
use super::steps::{Factor, Id, Op, Part, ScopeId};

/// Names that a local variable must not hide.
const TAKEN: &[&str] = &["x", "self", "step", "part", "cfg"];

/// `fn forward` of the layer.
pub(super) fn forward(layout: &Layout, steps: &[crate::ir::Step]) -> TokenStream {
    let mut writer = Writer::new(layout);
    writer.enter(0, |slot| {
        let name = &slot.name;
        quote!(self.#name)
    });
    for index in 0..layout.graph.assigns.len() {
        writer.assign(index);
    }
    let body = writer.finish();
    let step = if super::mentions(&body, "step") {
        quote!(step)
    } else {
        quote!(_)
    };
    let mut text =
        vec!["Runs the steps on the residual stream `x`, `[tokens, hidden_size]`:".to_owned()];
    text.extend(steps.iter().map(|step| format!("* `{}`", step.text.trim())));
    let text = doc::doc(&text.join("\n"));
    quote! {
        #text
        fn forward(&self, x: &mut Activations, #step: &mut Step) -> Result<()> { #body }
    }
}

/// Where a part is: the place, and whether it is an `Option`.
#[derive(Clone)]
struct Access {
    place: TokenStream,
    /// `place` is a reference (bound by a pattern), not a field.
    reference: bool,
    optional: bool,
}

struct Writer<'l> {
    layout: &'l Layout,
    access: HashMap<usize, Access>,
    /// Values that have a name.
    names: HashMap<Id, Ident>,
    /// Uses that are still to be written.
    left: Vec<usize>,
    /// The value that `x` holds.
    x: Id,
    /// Variables of the spec by value.
    wished: HashMap<Id, String>,
    /// Names of patterns around.
    pinned: Vec<String>,
    statements: Vec<TokenStream>,
    /// The last statement is `tail?;`.
    tail: Option<TokenStream>,
}

impl<'l> Writer<'l> {
    fn new(layout: &'l Layout) -> Self {
        let mut wished = HashMap::new();
        for assign in layout
            .graph
            .assigns
            .iter()
            .filter(|assign| assign.var != "x")
        {
            wished
                .entry(assign.value)
                .or_insert_with(|| assign.var.clone());
        }
        Self {
            layout,
            access: HashMap::new(),
            names: HashMap::new(),
            left: layout.graph.nodes.iter().map(|node| node.uses).collect(),
            x: 0,
            wished,
            pinned: Vec::new(),
            statements: Vec::new(),
            tail: None,
        }
    }

    fn enter(&mut self, scope: ScopeId, place: impl Fn(&Slot) -> TokenStream) {
        for slot in self.layout.slots(scope) {
            let access = Access {
                place: place(slot),
                reference: scope != 0,
                optional: slot.optional.is_some(),
            };
            self.access.insert(slot.part, access);
        }
    }

    /// The way to a part.
    fn access(&self, part: usize) -> Option<&Access> {
        self.access
            .get(self.layout.alias.get(&part).unwrap_or(&part))
    }

    fn push(&mut self, statement: TokenStream) {
        self.tail = None;
        self.statements.push(statement);
    }

    fn finish(mut self) -> TokenStream {
        let tail = self.tail.take();
        if tail.is_some() {
            self.statements.pop();
        }
        let (statements, tail) = (&self.statements, tail.unwrap_or(quote!(Ok(()))));
        quote!(#(#statements)* #tail)
    }

    fn op(&self, id: Id) -> Op {
        self.layout
            .graph
            .nodes
            .get(id)
            .map_or(Op::Input, |node| node.op.clone())
    }

    fn left(&self, id: Id) -> usize {
        self.left.get(id).copied().unwrap_or_default()
    }

    fn used(&mut self, id: Id) {
        if let Some(left) = self.left.get_mut(id) {
            *left = left.saturating_sub(1);
        }
    }

    /// One step of the spec.
    fn assign(&mut self, index: usize) {
        let Some(assign) = self.layout.graph.assigns.get(index) else {
            return;
        };
        if assign.var == "x" {
            self.update(assign.value);
        } else if assign.value != self.x && !self.names.contains_key(&assign.value) {
            let value = self.write(assign.value);
            let name = if self.left(assign.value) == 0 {
                format!("_{}", snake(&assign.var))
            } else {
                snake(&assign.var)
            };
            self.bind(assign.value, &name, value);
        }
    }

    /// Makes `x` hold `value`.
    fn update(&mut self, value: Id) {
        if value == self.x {
            return;
        }
        let old = self.x;
        let named = self.names.contains_key(&value);
        let (statement, question) = match self.op(value) {
            Op::Add(a, b) if !named && (a == old || b == old) => {
                let other = if a == b {
                    quote!(x.clone())
                } else {
                    self.operand(if a == old { b } else { a })
                };
                if a == b {
                    self.used(old);
                }
                (quote!(x.add(#other)), true)
            }
            Op::Scale(factor, a) if !named && a == old => {
                let factor = self.factor(&factor);
                (quote!(x.scale_by(#factor)), true)
            }
            _ => {
                let new = self.write(value);
                (quote!(*x = #new), false)
            }
        };
        if question {
            self.used(old);
        }
        if self.left(old) > 0 && !self.names.contains_key(&old) {
            let wish = self
                .wished
                .get(&old)
                .map_or("residual".into(), |wish| snake(wish));
            let pinned = self.pin(&statement);
            self.bind(old, &wish, quote!(x.clone()));
            self.pinned.truncate(pinned);
        }
        self.x = value;
        self.push(if question {
            quote!(#statement?;)
        } else {
            quote!(#statement;)
        });
        self.tail = question.then_some(statement);
    }

    /// `let name = value;`
    fn bind(&mut self, id: Id, wish: &str, value: TokenStream) {
        let name = self.free(wish);
        self.push(quote!(let #name = #value;));
        self.names.insert(id, name);
    }

    /// `wish`, or with a number if that hides something still needed.
    fn free(&self, wish: &str) -> Ident {
        let hides = |name: &Ident| {
            let text = name.to_string();
            TAKEN.contains(&text.as_str())
                || self.pinned.contains(&text)
                || self
                    .names
                    .iter()
                    .any(|(id, other)| other == name && self.left(*id) > 0)
        };
        let numbered = (2..).map(|count| ident(&format!("{wish}_{count}")));
        std::iter::once(ident(wish))
            .chain(numbered)
            .find(|name| !hides(name))
            .unwrap_or_else(|| ident(wish))
    }

    /// A value as an argument by reference.
    fn reference(&mut self, id: Id) -> TokenStream {
        self.named(id);
        self.used(id);
        match self.names.get(&id) {
            Some(name) => quote!(&#name),
            None => quote!(x),
        }
    }

    /// A value to call a method on.
    fn receiver(&mut self, id: Id) -> TokenStream {
        if matches!(self.op(id), Op::Add(..) | Op::Sub(..) | Op::Scale(..))
            && self.layout_uses(id) == 1
            && !self.known(id)
        {
            return self.operand(id);
        }
        self.named(id);
        self.used(id);
        match self.names.get(&id) {
            Some(name) => quote!(#name),
            None => quote!(x),
        }
    }

    fn layout_uses(&self, id: Id) -> usize {
        self.layout.graph.nodes.get(id).map_or(0, |node| node.uses)
    }

    fn known(&self, id: Id) -> bool {
        id == self.x || self.names.contains_key(&id)
    }

    /// Gives a value a name, unless `x` holds it.
    fn named(&mut self, id: Id) {
        if self.known(id) {
            return;
        }
        let value = self.operation(id);
        let wish = self.wish(id);
        // A component that a pattern binds has that name already.
        let wish = if self.pinned.contains(&wish) {
            "y"
        } else {
            &wish
        };
        self.bind(id, wish, value);
    }

    fn wish(&self, id: Id) -> String {
        if let Some(wish) = self.wished.get(&id) {
            return snake(wish);
        }
        match self.op(id) {
            Op::Component(part, ..) => match self.layout.graph.parts.get(part) {
                Some(Part::Component(name)) => snake(name),
                _ => "y".into(),
            },
            Op::Norm(..) => "h".into(),
            _ => "y".into(),
        }
    }

    /// A value as an owned (or borrowed) operand; calls its uses down by one.
    fn operand(&mut self, id: Id) -> TokenStream {
        if !self.known(id) && self.layout_uses(id) > 1 {
            self.named(id);
        }
        if !self.known(id) {
            self.used(id);
            return self.operation(id);
        }
        self.used(id);
        match self.names.get(&id) {
            Some(name) if self.left(id) == 0 => quote!(#name),
            Some(name) => quote!(&#name),
            None => quote!(&*x),
        }
    }

    /// A value, owned, without counting a use.
    fn write(&mut self, id: Id) -> TokenStream {
        match self.names.get(&id) {
            Some(name) => quote!(#name.clone()),
            None if id == self.x => quote!(x.clone()),
            None => self.operation(id),
        }
    }

    /// A value as the result of an arm.
    fn result(&mut self, id: Id) -> TokenStream {
        let fresh = !self.known(id);
        if fresh && self.layout_uses(id) == 1 {
            self.used(id);
            return self.operation(id);
        }
        self.named(id);
        self.used(id);
        match self.names.get(&id) {
            Some(name) if self.left(id) == 0 => quote!(#name),
            Some(name) => quote!(#name.clone()),
            None => quote!(x.clone()),
        }
    }

    fn operation(&mut self, id: Id) -> TokenStream {
        match self.op(id) {
            Op::Input => quote!(x.clone()),
            Op::Norm(part, input) => {
                let input = self.reference(input);
                let part = self.part(part);
                quote!(#part.forward(#input, step)?)
            }
            Op::Component(part, input, call) => {
                let input = self.reference(input);
                let several = self.several(part).then(|| {
                    let call = Literal::usize_unsuffixed(call);
                    quote!(#call,)
                });
                let part = self.part(part);
                quote!(#part.forward(#input, #several step)?)
            }
            Op::Add(a, b) => {
                let (a, b) = self.operands(a, b);
                quote!(#a.plus(#b)?)
            }
            Op::Sub(a, b) => {
                let (a, b) = self.operands(a, b);
                quote!(#a.minus(#b)?)
            }
            Op::Scale(factor, a) => {
                let a = self.receiver(a);
                let factor = self.factor(&factor);
                quote!(#a.scaled(#factor)?)
            }
            Op::Choose(choice) => self.choose(choice),
        }
    }

    /// Both operands of a sum.
    fn operands(&mut self, a: Id, b: Id) -> (TokenStream, TokenStream) {
        let a = self.receiver(a);
        let pinned = self.pin(&a);
        let b = self.argument(b);
        self.pinned.truncate(pinned);
        // What the left side still borrows must not move.
        let mut borrowed = Vec::new();
        identifiers(a.clone(), &mut borrowed);
        let moves = self.names.values().any(|name| *name == b.to_string());
        let b = if moves && borrowed.contains(&b.to_string()) {
            quote!(&#b)
        } else {
            b
        };
        (a, b)
    }

    /// Keeps statements that come before `code` is written from hiding what it names; returns the length of `pinned` before.
    fn pin(&mut self, code: &TokenStream) -> usize {
        let before = self.pinned.len();
        let mut found = Vec::new();
        identifiers(code.clone(), &mut found);
        let locals = self.names.values().map(ToString::to_string);
        self.pinned
            .extend(locals.filter(|local| found.contains(local)));
        before
    }

    /// An operand of a sum: calls get a name.
    fn argument(&mut self, id: Id) -> TokenStream {
        if matches!(
            self.op(id),
            Op::Norm(..) | Op::Component(..) | Op::Choose(_)
        ) {
            self.named(id);
        }
        self.operand(id)
    }

    /// Whether a layer calls this attention more than once.
    fn several(&self, part: usize) -> bool {
        match self.layout.graph.parts.get(part) {
            Some(Part::Component(name)) => {
                self.layout.attentions.contains(name)
                    && self
                        .layout
                        .graph
                        .calls
                        .get(name)
                        .is_some_and(|calls| *calls > 1)
            }
            _ => false,
        }
    }

    fn part(&self, part: usize) -> TokenStream {
        let Some(access) = self.access(part) else {
            return quote!(self);
        };
        let place = &access.place;
        if !access.optional {
            return quote!(#place);
        }
        let what = match self.layout.graph.parts.get(part) {
            Some(Part::Norm(name) | Part::Component(name)) => name.clone(),
            _ => place.to_string().replace(' ', "").replace("self.", ""),
        };
        let borrow = (!access.reference).then(|| quote!(&));
        quote!(part(#borrow #place, #what)?)
    }

    fn factor(&self, factor: &Factor) -> TokenStream {
        match factor {
            Factor::Literal(number) => float(*number),
            Factor::Part(part) => {
                let reference = self
                    .access(*part)
                    .is_some_and(|access| access.reference || access.optional);
                let part = self.part(*part);
                if reference { quote!(*#part) } else { part }
            }
        }
    }
}

/// All identifiers in `code`.
fn identifiers(code: TokenStream, found: &mut Vec<String>) {
    for token in code {
        match token {
            TokenTree::Ident(ident) => found.push(ident.to_string()),
            TokenTree::Group(group) => identifiers(group.stream(), found),
            _ => {}
        }
    }
}
