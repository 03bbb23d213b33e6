//! No tensor may be two parts' own: the full names that each part asks for, per format.

use std::collections::{HashMap, HashSet};

use super::Checker;
use super::layers::{Call, Wiring};
use crate::diagnostic::Diagnostic;
use crate::ir::{
    Architecture, At, ComponentKind, ExpertSource, Expr, ExprKind, Format, GateUpSource, Gqa, Mlp,
    Moe, Name, NormInstance, QkvSource, Storage, Tied,
};

/// A tensor that a part asks for.
struct Claim {
    tensor: String,
    /// What asks, as messages call it.
    owner: String,
    /// Component or norm in whose calls it is asked for; `None` outside the layers.
    part: Option<String>,
    at: At,
}

/// Collects what one format asks for.
struct Claims {
    format: Format,
    prefix: String,
    found: Vec<Claim>,
}

impl Checker<'_> {
    /// Complains about tensors that two parts ask for in one layer; of two parts the first such tensor is told.
    pub(super) fn rival_names(&mut self, architecture: &Architecture, wiring: &Wiring) {
        let calls = wiring.calls_by_part();
        for format in self.formats.clone() {
            let claims = Claims::new(architecture, format);
            let mut owners: HashMap<&str, Vec<&Claim>> = HashMap::new();
            let mut told = HashSet::new();
            for claim in &claims.found {
                let others = owners.entry(&claim.tensor).or_default();
                let other = others.iter().find(|other| meet(&calls, other, claim));
                if let Some(other) = other.filter(|other| told.insert((&other.owner, &claim.owner)))
                {
                    let diagnostic = self.rivals(other, claim, format);
                    self.diagnostics.push(diagnostic);
                }
                others.push(claim);
            }
        }
    }

    fn rivals(&self, first: &Claim, second: &Claim, format: Format) -> Diagnostic {
        let message = format!(
            "{} and {} both read `{}` in {format}",
            first.owner, second.owner, second.tensor
        );
        let mut error = Diagnostic::error(message);
        error.place = self
            .set
            .find(second.at.file.trim_end_matches(".toml"))
            .map(|file| crate::diagnostic::Place {
                path: self.set.path(file),
                line: self
                    .set
                    .file_text(file)
                    .lines()
                    .nth(second.at.line - 1)
                    .unwrap_or("")
                    .to_string(),
                at: second.at.clone(),
                label: None,
            });
        let other = &first.at;
        error.note(format!(
            "the other is {}:{}:{}",
            other.file, other.line, other.column
        ));
        error.help("each tensor belongs to one part: correct one of the names");
        error
    }
}

/// Whether some layer asks for both.
fn meet(calls: &HashMap<&str, Vec<&Call>>, a: &Claim, b: &Claim) -> bool {
    let of = |claim: &Claim| {
        claim
            .part
            .as_ref()
            .and_then(|part| calls.get(part.as_str()))
    };
    match (of(a), of(b)) {
        (Some(first), Some(second)) => {
            a.part == b.part
                || first
                    .iter()
                    .any(|call| second.iter().any(|other| !call.excludes(other)))
        }
        _ => true,
    }
}

fn is_off(expr: &Expr) -> bool {
    expr.kind == ExprKind::Bool(false)
}

impl Claims {
    fn new(architecture: &Architecture, format: Format) -> Self {
        let prefix = architecture
            .layer_prefix
            .names
            .get(format)
            .clone()
            .unwrap_or_default();
        let mut claims = Self {
            format,
            prefix,
            found: Vec::new(),
        };
        claims.outside(architecture);
        for norm in &architecture.norms {
            claims.norm(
                norm,
                &format!("the norm `{}`", norm.ident),
                Some(&norm.ident),
            );
        }
        for component in &architecture.components {
            match &component.kind {
                ComponentKind::Gqa(gqa) => claims.gqa(gqa, &component.ident),
                ComponentKind::Mlp(mlp) => claims.mlp(mlp, &component.ident, ""),
                ComponentKind::Moe(moe) => claims.moe(moe, &component.ident),
            }
        }
        claims
    }

    fn outside(&mut self, architecture: &Architecture) {
        let embed = &architecture.embed;
        self.weight(&embed.tokens, "`tokens` of [embed]", None);
        if let Some((positions, _)) = &embed.positions {
            self.weight(positions, "`positions` of [embed]", None);
        }
        if let Some(norm) = &embed.norm {
            self.norm(norm, "the norm of [embed]", None);
        }
        let head = &architecture.head;
        self.norm(&head.norm, "the norm of [head]", None);
        if matches!(head.tied.get(self.format), Tied::Expr(tied) if is_off(tied)) {
            self.weight(&head.out, "`out` of [head]", None);
        }
    }

    fn tensor(&mut self, tensor: String, owner: &str, part: Option<&str>, at: &At) {
        let prefix = if part.is_some() {
            self.prefix.as_str()
        } else {
            ""
        };
        self.found.push(Claim {
            tensor: format!("{prefix}{tensor}"),
            owner: owner.to_string(),
            part: part.map(str::to_string),
            at: at.clone(),
        });
    }

    fn weight(&mut self, name: &Name, owner: &str, part: Option<&str>) {
        if let Some(text) = name.names.get(self.format) {
            self.tensor(format!("{text}.weight"), owner, part, &name.at);
        }
    }

    fn whole(&mut self, name: &Name, owner: &str, part: &str) {
        if let Some(text) = name.names.get(self.format) {
            self.tensor(text.clone(), owner, Some(part), &name.at);
        }
    }

    fn projection(&mut self, text: &str, owner: &str, part: &str, at: &At, bias: &Expr) {
        self.tensor(format!("{text}.weight"), owner, Some(part), at);
        if !is_off(bias) {
            self.tensor(format!("{text}.bias"), owner, Some(part), at);
        }
    }

    fn norm(&mut self, norm: &NormInstance, owner: &str, part: Option<&str>) {
        let Some(name) = &norm.name else { return };
        self.weight(name, owner, part);
        let text = name.names.get(self.format).clone();
        if let Some(text) = text.filter(|_| !is_off(norm.options.bias.get(self.format))) {
            self.tensor(format!("{text}.bias"), owner, part, &name.at);
        }
    }

    fn gqa(&mut self, gqa: &Gqa, part: &str) {
        let owner = |key: &str| format!("`{key}` of [{part}]");
        let bias = gqa.bias.get(self.format);
        let place = |index: usize| {
            gqa.qkv_at
                .get(index)
                .or(gqa.qkv_at.last())
                .unwrap_or(&gqa.o.at)
        };
        match gqa.qkv.get(self.format) {
            Some(QkvSource::Split { q, k, v }) => {
                let names = [("q", Some(q)), ("k", Some(k)), ("v", v.as_ref())];
                for (index, (key, name)) in names.into_iter().enumerate() {
                    if let Some(name) = name {
                        self.projection(name, &owner(key), part, place(index), bias);
                    }
                }
            }
            Some(QkvSource::Fused { name, .. }) => {
                self.projection(name, &owner("qkv"), part, place(0), bias)
            }
            None => {}
        }
        if let Some(o) = gqa.o.names.get(self.format) {
            self.projection(o, &owner("o"), part, &gqa.o.at, gqa.o_bias.get(self.format));
        }
        if let Some(norm) = &gqa.qk_norm {
            for (key, name) in [("qk_norm.q", &norm.q), ("qk_norm.k", &norm.k)] {
                if let Some(name) = name {
                    self.weight(name, &owner(key), Some(part));
                }
            }
        }
        if let Some((sinks, _)) = &gqa.sinks {
            self.whole(sinks, &owner("sinks"), part);
        }
        if let Some(name) = gqa.out_gate.as_ref().and_then(|gate| gate.name.as_ref()) {
            self.weight(name, &owner("out_gate"), Some(part));
        }
    }

    /// `of`: `""`, or `shared.` for the MLP in a `moe`.
    fn mlp(&mut self, mlp: &Mlp, part: &str, of: &str) {
        let owner = |key: &str| format!("`{of}{key}` of [{part}]");
        let bias = mlp.bias.get(self.format);
        let place = |index: usize| {
            mlp.gate_up_at
                .get(index)
                .or(mlp.gate_up_at.last())
                .unwrap_or(&mlp.down.at)
        };
        match mlp.gate_up.get(self.format) {
            Some(GateUpSource::Split { gate, up }) => {
                if let Some(gate) = gate {
                    self.projection(gate, &owner("gate"), part, place(0), bias);
                }
                self.projection(up, &owner("up"), part, place(1), bias);
            }
            Some(GateUpSource::Fused { name, .. }) => {
                self.projection(name, &owner("gate_up"), part, place(0), bias)
            }
            None => {}
        }
        if let Some(down) = mlp.down.names.get(self.format) {
            self.projection(down, &owner("down"), part, &mlp.down.at, bias);
        }
    }

    fn moe(&mut self, moe: &Moe, part: &str) {
        let owner = |key: &str| format!("`{key}` of [{part}]");
        let router = &moe.router;
        if let Some(name) = router.name.names.get(self.format) {
            self.projection(
                name,
                &owner("router"),
                part,
                &router.name.at,
                router.bias.get(self.format),
            );
        }
        if let Some(name) = &router.select_bias {
            self.whole(name, &owner("router.select_bias"), part);
        }
        if let Some(source) = moe.source.get(self.format) {
            self.experts(source, part, moe.bias.get(self.format));
        }
        if let Some(shared) = &moe.shared {
            self.mlp(&shared.mlp, part, "shared.");
            if let Some(name) = &shared.out_gate {
                self.weight(name, &owner("shared.out_gate"), Some(part));
            }
        }
    }

    fn experts(&mut self, source: &ExpertSource, part: &str, bias: &Expr) {
        let mut names = vec![("down", &source.down)];
        match &source.gate_up {
            GateUpSource::Split { gate, up } => {
                names.extend(gate.as_ref().map(|gate| ("gate", gate)));
                names.push(("up", up));
            }
            GateUpSource::Fused { name, .. } => names.push(("gate_up", name)),
        }
        for (key, name) in names {
            let owner = format!("`{key}` of the experts of [{part}]");
            match source.storage.as_ref().filter(|_| !name.contains("{e}")) {
                None => self.projection(name, &owner, part, &source.at, bias),
                Some(storage) => {
                    for tensor in stored(storage, name, !is_off(bias)) {
                        self.tensor(tensor, &owner, Some(part), &source.at);
                    }
                }
            }
        }
    }
}

/// The tensors of one projection under a spelling.
fn stored(storage: &Storage, name: &str, bias: bool) -> Vec<String> {
    let mut patterns = vec![&storage.weight];
    patterns.extend(storage.bias.as_ref().filter(|_| bias));
    if let Some(mxfp4) = &storage.mxfp4 {
        patterns.extend([&mxfp4.blocks, &mxfp4.scales]);
        patterns.extend(mxfp4.bias.as_ref().filter(|_| bias));
    }
    let mut tensors: Vec<String> = patterns
        .iter()
        .map(|pattern| pattern.replace("{P}", name))
        .collect();
    tensors.sort();
    tensors.dedup();
    tensors
}
