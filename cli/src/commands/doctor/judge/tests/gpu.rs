use super::*;
use crate::commands::doctor::page::page;

fn gpu(compute: &str) -> Gpu {
    Gpu {
        name: "A GPU".into(),
        compute: Some(compute.into()),
        total: 80_000_000_000,
        free: 79_000_000_000,
    }
}

/// A driver that knows these GPUs.
fn known(driver: &str, devices: Vec<Gpu>) -> Gpus {
    Gpus {
        driver: Some(driver.into()),
        cuda: Some("13.0".into()),
        on_bus: devices.len(),
        devices,
        ..Gpus::default()
    }
}

fn none(on_bus: usize) -> Gpus {
    Gpus {
        problem: Some("no library".into()),
        on_bus,
        ..Gpus::default()
    }
}

fn with(gpus: Gpus, cuda: Option<Cuda>) -> Facts {
    let mut facts = healthy();
    if cuda.is_some() {
        facts.program.backends.push(Backend {
            name: "cuda",
            archs: vec!["80", "90a"],
            driver: Some("580"),
        });
    }
    (facts.gpus, facts.cuda) = (Some(gpus), cuda);
    facts
}

fn shown(index: usize, compute: &str, check: Check) -> CudaGpu {
    CudaGpu {
        index,
        name: "A GPU".into(),
        compute: compute.into(),
        total: 80_000_000_000,
        check,
    }
}

fn computed(worst: f64) -> Check {
    Check::Computed {
        kernels: vec![
            KernelCheck {
                precision: "plain",
                ..check("F32", 1e-8)
            },
            KernelCheck {
                precision: "decode",
                ..check("Q4_K", worst)
            },
        ],
        free: 78_000_000_000,
        seconds: 1.5,
    }
}

/// A machine with one GPU that does this.
fn one(check: Check) -> Facts {
    let cuda = Cuda::Gpus(vec![shown(0, "9.0", check)]);
    with(known("580.95.05", vec![gpu("9.0")]), Some(cuda))
}

fn out_of_memory() -> Trouble {
    Trouble::OutOfMemory {
        message: "out of GPU memory: a check needs 64.0 MB, and 1.0 MB of 80.00 GB are free".into(),
    }
}

fn unknown() -> Trouble {
    Trouble::Other {
        message: "the NVIDIA driver refused cuInit: system not yet initialized".into(),
    }
}

/// Every state that a machine can be in, with and without the CUDA part.
fn states() -> Vec<(&'static str, Facts)> {
    let refused = |gpus, trouble| with(gpus, Some(Cuda::Refused(trouble)));
    let here = || known("580.95.05", vec![gpu("9.0")]);
    let mut silent_driver = healthy();
    silent_driver.gpus = None;
    let archs = || "90a".to_string();
    let two = |first| {
        let cuda = Cuda::Gpus(vec![
            shown(0, "7.5", first),
            shown(1, "9.0", computed(2e-8)),
        ]);
        with(known("580.95.05", vec![gpu("7.5"), gpu("9.0")]), Some(cuda))
    };
    let display_card_last = Cuda::Gpus(vec![
        shown(0, "9.0", computed(2e-8)),
        shown(1, "6.1", Check::Failed(Trouble::OldGpu)),
    ]);
    vec![
        ("built without CUDA: no GPU", with(none(0), None)),
        ("built without CUDA: no driver", with(none(2), None)),
        ("built without CUDA: a GPU", with(here(), None)),
        (
            "built without CUDA: a GPU, an old driver",
            with(known("535.104", vec![gpu("9.0")]), None),
        ),
        (
            "built without CUDA: an old GPU",
            with(known("580.95.05", vec![gpu("6.1")]), None),
        ),
        ("built without CUDA: silent driver", silent_driver),
        ("no GPU", refused(none(0), Trouble::NoDriver)),
        ("no driver", refused(none(2), Trouble::NoDriver)),
        ("half a driver", refused(here(), Trouble::NoDriver)),
        (
            "old driver",
            refused(
                known("535.104", vec![gpu("9.0")]),
                Trouble::OldDriver {
                    cuda: "12.2".into(),
                },
            ),
        ),
        (
            "hidden by choice",
            refused(
                here(),
                Trouble::NoGpu {
                    visible: Some(String::new()),
                },
            ),
        ),
        ("hidden", refused(here(), Trouble::NoGpu { visible: None })),
        (
            "a driver without a GPU",
            refused(
                known("580.95.05", Vec::new()),
                Trouble::NoGpu { visible: None },
            ),
        ),
        (
            "an empty list",
            with(known("580.95.05", Vec::new()), Some(Cuda::Gpus(Vec::new()))),
        ),
        ("CUDA does not start", refused(here(), unknown())),
        ("silent driver", with(here(), Some(Cuda::Silent))),
        ("fine", one(computed(2e-8))),
        ("wrong", one(computed(0.25))),
        ("not a number", one(computed(f64::INFINITY))),
        ("silent GPU", one(Check::Silent)),
        ("out of memory", one(Check::Failed(out_of_memory()))),
        (
            "no kernels",
            one(Check::Failed(Trouble::NoKernels { archs: archs() })),
        ),
        ("a call fails", one(Check::Failed(unknown()))),
        (
            "old GPU",
            with(
                known("580.95.05", vec![gpu("7.5")]),
                Some(Cuda::Gpus(vec![shown(
                    0,
                    "7.5",
                    Check::Failed(Trouble::OldGpu),
                )])),
            ),
        ),
        (
            "the first of two is old",
            two(Check::Failed(Trouble::OldGpu)),
        ),
        (
            "the first of two is full",
            two(Check::Failed(out_of_memory())),
        ),
        (
            "the second of two is old",
            with(
                known("580.95.05", vec![gpu("9.0"), gpu("6.1")]),
                Some(display_card_last),
            ),
        ),
    ]
}

fn findings(facts: &Facts) -> Vec<Finding> {
    let all = judge(facts).into_iter();
    all.filter(|finding| finding.topic == "gpu").collect()
}

#[test]
fn every_state_of_a_gpu_has_its_finding() {
    let mut text = String::new();
    for (state, facts) in states() {
        text.push_str(&format!("{state}\n"));
        for finding in findings(&facts) {
            assert_eq!(
                finding.level == Level::Ok,
                finding.hint.is_none(),
                "{finding:?}"
            );
            text.push_str(&format!("  {}: {}\n", finding.level.word(), finding.what));
            if let Some(hint) = finding.hint {
                text.push_str(&format!("    hint: {hint}\n"));
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn no_state_is_left_without_a_finding_and_only_the_gpu_is_judged_by_it() {
    for (state, facts) in states() {
        assert!(!findings(&facts).is_empty(), "{state}");
        let others = judge(&facts)
            .into_iter()
            .filter(|finding| finding.topic != "gpu");
        assert!(
            others.into_iter().all(|finding| finding.level == Level::Ok),
            "{state}"
        );
    }
}

#[test]
fn levels_say_what_still_works() {
    let level = |state: &str| {
        let (_, facts) = states()
            .into_iter()
            .find(|(name, _)| *name == state)
            .unwrap();
        findings(&facts)
            .into_iter()
            .map(|finding| finding.level)
            .max()
            .unwrap()
    };
    for state in ["fine", "no GPU", "a driver without a GPU"] {
        assert_eq!(level(state), Level::Ok, "{state}");
    }
    // Models run on the CPU all the same.
    for state in [
        "built without CUDA: a GPU",
        "old driver",
        "old GPU",
        "no kernels",
    ] {
        assert_eq!(level(state), Level::Warning, "{state}");
    }
    // A model would hang, break off or answer nonsense.
    for state in [
        "silent driver",
        "silent GPU",
        "wrong",
        "not a number",
        "a call fails",
    ] {
        assert_eq!(level(state), Level::Error, "{state}");
    }
}

#[test]
fn a_stuck_driver_is_known_so_that_the_program_can_leave_it_behind() {
    for (state, facts) in states() {
        let stuck = facts.cuda.as_ref().is_some_and(Cuda::is_stuck);
        let silent = ["silent driver", "silent GPU"].contains(&state);
        assert_eq!(stuck, silent, "{state}");
    }
}

#[test]
fn models_are_measured_by_the_first_gpu_that_computes_rightly() {
    let first = |state: &str| {
        let (_, facts) = states()
            .into_iter()
            .find(|(name, _)| *name == state)
            .unwrap();
        facts.cuda.as_ref().and_then(Cuda::first_sound)
    };
    assert_eq!(first("fine"), Some((0, 78_000_000_000)));
    assert_eq!(first("the first of two is old"), Some((1, 78_000_000_000)));
    for state in ["wrong", "silent GPU", "silent driver", "no GPU"] {
        assert_eq!(first(state), None, "{state}");
    }
}

/// A model of such weights on a machine with 8 GB and a GPU with 78 GB free.
fn model(weights: u64, longest: Option<usize>, on_gpu: Option<usize>) -> Facts {
    let mut model = sound(weights, longest);
    if let ModelState::Sound(fit) = &mut model.state {
        fit.gpu = Some(GpuFit {
            device: "cuda:0".into(),
            dtype: "bf16",
            free: 78_000_000_000,
            needs: fit.needs.clone(),
            longest: on_gpu,
        });
    }
    let mut facts = one(computed(2e-8));
    facts.models = Some(models(vec![model]));
    facts
}

#[test]
fn a_models_fit_is_told_for_the_gpu_beside_the_machine() {
    let told = |facts: &Facts| {
        let all = judge(facts).into_iter();
        all.filter(|finding| finding.topic == "models")
            .map(|finding| format!("{}: {}", finding.level.word(), finding.what))
            .collect::<String>()
    };
    let cases = [
        (1_000_000_000, Some(8192), Some(8192)),
        (7_000_000_000, Some(5000), Some(8192)),
        (40_000_000_000, None, Some(8192)),
        (77_996_000_000, None, Some(4500)),
        (77_999_000_000, None, Some(100)),
        (90_000_000_000, None, None),
        (1_000_000_000, Some(8192), None),
    ];
    let lines = cases.map(|(weights, longest, on_gpu)| told(&model(weights, longest, on_gpu)));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_page_has_both_memories_and_the_backends() {
    let facts = model(40_000_000_000, None, Some(8192));
    insta::assert_snapshot!(page(&facts, &judge(&facts)));
}

#[test]
fn json_has_backends_checks_and_troubles() {
    let json = |facts: &Facts| serde_json::to_value(facts).unwrap();
    let fine = json(&model(1_000_000_000, Some(8192), Some(8192)));
    assert_eq!(
        fine["program"]["backends"],
        serde_json::json!([{ "name": "cpu" }, { "name": "cuda", "archs": ["80", "90a"], "driver": "580" }])
    );
    let check = &fine["cuda"]["gpus"][0]["check"]["computed"];
    assert_eq!(check["free"], 78_000_000_000_u64);
    assert_eq!(check["kernels"][1]["precision"], "decode");
    let fit = &fine["models"]["models"][0]["state"]["sound"]["gpu"];
    assert_eq!(
        (&fit["device"], &fit["longest"]),
        (&"cuda:0".into(), &8192.into())
    );
    let old = with(
        none(0),
        Some(Cuda::Refused(Trouble::OldDriver {
            cuda: "12.2".into(),
        })),
    );
    assert_eq!(json(&old)["cuda"]["refused"]["old_driver"]["cuda"], "12.2");
    assert_eq!(json(&with(none(0), None))["cuda"], serde_json::Value::Null);
    assert_eq!(
        json(&one(Check::Silent))["cuda"]["gpus"][0]["check"],
        "silent"
    );
}
