//! The way of a model of sound: pretrain → fine-tune → int8, on sounds made here.

mod common;

use common::{config, sounds, trained, trainer};
use std::path::Path;
use tailtune_tools::audio::FrontEnd;
use tailtune_tools::data::Dataset;
use tailtune_tools::export::tensors;
use tailtune_tools::float_model::FloatModel;
use tailtune_tools::import::read_model;
use tailtune_tools::int8::argmax;
use tailtune_tools::quantize::{calibrate::Calibration, quantize};
use tailtune_tools::reference::{FloatInput, forward};

fn accuracy(model: &FloatModel, data: &Path) -> f64 {
    let data = Dataset::open(data).unwrap();
    let front_end = FrontEnd::new(model.front_end.as_ref().unwrap()).unwrap();
    let clips = data.features(Some(&front_end)).unwrap();
    let right = |(clip, label): (&Vec<f32>, &String)| {
        let logits = forward(model, FloatInput::Frames(clip), &mut ()).logits;
        argmax(&logits).map(|c| &model.labels[c]) == Some(label)
    };
    let labels: Vec<String> = data.samples.iter().map(|s| s.label.clone()).collect();
    let n = clips.iter().zip(&labels).filter(|x| right(*x)).count();
    n as f64 / clips.len() as f64
}

/// From random weights to at least 95 % on new sounds; then a new head on two new classes with the
/// rest untouched to the bit; then the model becomes an image.
#[test]
fn pretrain_finetune_and_quantize() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    sounds(&at("train"), &["rise", "fall", "stay"], 60, 1);
    sounds(&at("test"), &["rise", "fall", "stay"], 40, 2);
    sounds(&at("new"), &["down", "up"], 40, 3);
    sounds(&at("new test"), &["down", "up"], 40, 4);
    let config = config(dir.path(), "supervised", 160, "");
    let said = trained(&[
        "pretrain",
        "--config",
        &config,
        "--data",
        &text("train"),
        "-o",
        &text("base"),
    ]);
    assert!(
        said.contains("held_out_accuracy") && said.contains("min left"),
        "{said}"
    );
    let base = read_model(&at("base")).unwrap();
    let reached = accuracy(&base, &at("test"));
    assert!(reached >= 0.95, "{reached}");
    let svg = std::fs::read_to_string(at("base/training.svg")).unwrap();
    assert!(svg.contains("held_out_accuracy"));

    let tune = [
        "finetune",
        &text("base"),
        "--data",
        &text("new"),
        "--new-head",
    ];
    trained(&[&tune[..], &["-o", &text("tuned")]].concat());
    let tuned = read_model(&at("tuned")).unwrap();
    assert_eq!(tuned.labels, ["down", "up"]);
    let reached = accuracy(&tuned, &at("new test"));
    assert!(reached >= 0.8, "{reached}");
    for (before, after) in tensors(&base).iter().zip(&tensors(&tuned)) {
        assert!(
            before.name.starts_with("head") || before == after,
            "{} moved",
            before.name
        );
    }
    let mut calibration = Calibration::default();
    let front_end = FrontEnd::new(tuned.front_end.as_ref().unwrap()).unwrap();
    for clip in Dataset::open(&at("new"))
        .unwrap()
        .features(Some(&front_end))
        .unwrap()
    {
        forward(&tuned, FloatInput::Frames(&clip), &mut calibration);
    }
    assert!(quantize(&tuned, &calibration).is_ok());
}

/// Stopped and started again, a run ends with the bits of one that was not stopped; another run's
/// checkpoint is refused.
#[test]
fn a_run_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let text = |name: &str| dir.path().join(name).display().to_string();
    sounds(&dir.path().join("train"), &["rise", "fall"], 20, 1);
    let file = config(dir.path(), "supervised", 60, "");
    let run = |output: &str, more: &[&str]| {
        let (data, output) = (text("train"), text(output));
        let args = [
            "pretrain", "--config", &file, "--data", &data, "-o", &output,
        ];
        trained(&[&args[..], more].concat())
    };
    run("whole", &[]);
    // The checkpoint is the last report's: the five steps after it are done again.
    run("parts", &["--stop-after", "25"]);
    assert!(run("parts", &[]).contains("going on after step 20"));
    let read = |name: &str| std::fs::read(dir.path().join(name).join("model.safetensors")).unwrap();
    assert_eq!(read("whole"), read("parts"));

    let other = config(dir.path(), "supervised", 80, "");
    let (data, output) = (text("train"), text("whole"));
    let refused = trainer(&[
        "pretrain", "--config", &other, "--data", &data, "-o", &output,
    ]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains("checkpoint.safetensors") && said.contains("delete it"),
        "{said}"
    );
}

/// Every way of tuning moves what it says and nothing else.
#[test]
fn what_moves_is_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = |name: &str| dir.path().join(name).display().to_string();
    sounds(&dir.path().join("train"), &["rise", "fall"], 20, 1);
    let file = config(dir.path(), "masked_frames", 40, "");
    let said = trained(&[
        "pretrain",
        "--config",
        &file,
        "--data",
        &text("train"),
        "-o",
        &text("base"),
    ]);
    assert!(
        said.contains("reconstruction_mse") && said.contains("held_out_mse"),
        "{said}"
    );
    let base = read_model(&dir.path().join("base")).unwrap();
    assert!(base.labels.is_empty());
    let plan = dir.path().join("plan.toml");
    std::fs::write(
        &plan,
        "[schedule]\nsteps = 8\nbatch = 8\nlearning_rate = 1e-3\n",
    )
    .unwrap();
    let plan = plan.display().to_string();
    type Moves = fn(&str) -> bool;
    let cases: [(&[&str], Moves); 7] = [
        (&["--train", "head"], |_| false),
        (&["--train", "last-1"], |n| {
            n.starts_with("layers.1.") || n.starts_with("final_norm")
        }),
        (&["--train", "all"], |_| true),
        (&["--train", "norm+bias"], |n| {
            (n.starts_with("layers") || n.starts_with("final"))
                && (n.contains("norm") || n.ends_with("bias"))
        }),
        (&["--train", "lora"], |n| {
            n.contains("attention") && n.ends_with("weight")
        }),
        (&["--new-embedding"], |n| {
            n.starts_with("embeddings.projection")
        }),
        (
            &[
                "--train",
                "last-1",
                "--activation",
                "relu",
                "--quantization-aware",
            ],
            |n| n.starts_with("layers.1.") || n.starts_with("final_norm"),
        ),
    ];
    for (i, (how, moves)) in cases.iter().enumerate() {
        let (output, model, data) = (format!("tuned {i}"), text("base"), text("train"));
        let (out, args) = (
            text(&output),
            ["finetune", &model, "--data", &data, "--config", &plan],
        );
        trained(&[&args[..], how, &["-o", &out]].concat());
        let tuned = read_model(&dir.path().join(&output)).unwrap();
        assert_eq!(tuned.labels, ["fall", "rise"]);
        for (before, after) in tensors(&base).iter().zip(&tensors(&tuned)) {
            // A bias of all keys changes no softmax, so it has no slope.
            let (name, free) = (&before.name, before.name.ends_with("attention.k.bias"));
            let moved = before != after;
            assert!(
                free || moved == moves(name),
                "{how:?}: {name} moved: {moved}"
            );
        }
    }
}

/// Mistakes are named, with exit code 1 for data and 2 for calls.
#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = |name: &str| dir.path().join(name).display().to_string();
    sounds(&dir.path().join("train"), &["rise", "fall"], 4, 1);
    let bad = config(dir.path(), "supervised", 60, "n_header = 2");
    let (data, out) = (text("train"), text("out"));
    let fails = |args: &[&str], code: i32, needles: &[&str]| {
        let output = trainer(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for needle in needles {
            assert!(said.contains(needle), "{said}");
        }
    };
    fails(
        &["pretrain", "--config", &bad, "--data", &data, "-o", &out],
        1,
        &["supervised-60.toml", "n_header"],
    );
    fails(
        &[
            "finetune", &out, "--data", &data, "--train", "tail", "-o", &out,
        ],
        2,
        &["last-N"],
    );
    fails(
        &["finetune", &out, "--data", &data, "-o", &out],
        1,
        &["config.json"],
    );
    let heads = config(
        dir.path(),
        "supervised",
        61,
        "final_norm = true\nembed_norm = true",
    );
    let uneven = std::fs::read_to_string(&heads)
        .unwrap()
        .replace("n_heads = 2", "n_heads = 5");
    std::fs::write(&heads, uneven).unwrap();
    fails(
        &["pretrain", "--config", &heads, "--data", &data, "-o", &out],
        1,
        &["n_heads"],
    );
    let wild = config(dir.path(), "supervised", 62, "");
    let text = std::fs::read_to_string(&wild).unwrap();
    let text = text.replace("learning_rate = 5e-3", "learning_rate = 1e38");
    std::fs::write(&wild, text.replace("warmup_steps = 10", "clip_norm = 1e38")).unwrap();
    fails(
        &["pretrain", "--config", &wild, "--data", &data, "-o", &out],
        1,
        &["diverged", "learning_rate"],
    );
}
