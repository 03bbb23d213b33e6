//! How long the macro takes: from the text of every shipped spec to the code of its module.

use criterion::{Criterion, criterion_group, criterion_main};
use inferno_macros_core::SpecSet;
use inferno_runtime::models::SPECS;

fn expand(criterion: &mut Criterion) {
    let set = || {
        SpecSet::new(
            SPECS
                .iter()
                .map(|(name, text)| (name.to_string(), text.to_string())),
        )
    };
    criterion.bench_function("expand/all", |bencher| {
        bencher.iter_with_setup(set, |set| inferno_macros_core::expand(&set).is_ok());
    });
    let set = set();
    let (architectures, _) = inferno_macros_core::load(&set);
    for architecture in &architectures {
        criterion.bench_function(&format!("expand/{}", architecture.stem), |bencher| {
            bencher.iter(|| inferno_macros_core::expand_one(architecture));
        });
    }
}

criterion_group!(benches, expand);
criterion_main!(benches);
