//! Hugging Face directories against what their own framework computed: `huggingface/make.py` wrote the
//! directories and the expected values.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tailtune::image::{InputKind, Pooling};
use tailtune_tools::float_model::{ActivationFn, FloatModel};
use tailtune_tools::import::{Options, PoolingChoice, read_model, read_model_with};
use tailtune_tools::int8::Int8Model;
use tailtune_tools::quantize::{calibrate::Calibration, quantize};
use tailtune_tools::reference::{FloatInput, ModelInput, forward};
use tailtune_tools::synthetic::{self, Random};

/// What the framework made of one input.
#[derive(Deserialize)]
struct Expected {
    ids: Vec<u32>,
    segments: Vec<u8>,
    hidden: Vec<f32>,
    mean: Vec<f32>,
    pooler: Option<Vec<f32>>,
    logits: Option<Vec<f32>>,
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/huggingface")
        .join(name)
}

fn expected(name: &str) -> Vec<Expected> {
    let text = std::fs::read(dir(name).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn run(model: &FloatModel, case: &Expected) -> tailtune_tools::reference::Output {
    let segments = match model.config.input {
        InputKind::Tokens { n_segments: 0, .. } => &[][..],
        _ => &case.segments,
    };
    let ids = &case.ids;
    forward(model, FloatInput::Tokens { ids, segments }, &mut ())
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 2e-5,
            "{what}: {found} {expected}"
        );
    }
}

const ALL: [&str; 5] = [
    "bert_classifier",
    "bert_pooler",
    "bert_sentence",
    "distilbert_classifier",
    "distilbert",
];

fn with_mean(name: &str) -> FloatModel {
    let pooling = Some(PoolingChoice::Mean);
    let options = Options {
        pooling: pooling.filter(|_| name == "distilbert"),
        ..Options::default()
    };
    read_model_with(&dir(name), &options).unwrap()
}

#[test]
fn the_forward_is_the_frameworks() {
    for name in ALL {
        let model = with_mean(name);
        for case in expected(name) {
            let output = run(&model, &case);
            close(&output.hidden, &case.hidden, name);
            match (&case.pooler, model.config.pooling) {
                (Some(pooler), Pooling::First) => close(&output.pooled, pooler, name),
                (_, Pooling::Mean) => close(&output.pooled, &case.mean, name),
                _ => {}
            }
            if let Some(logits) = &case.logits {
                close(&output.logits, logits, name);
            }
        }
    }
}

#[test]
fn what_a_directory_says_becomes_the_architecture() {
    let classifier = read_model(&dir("bert_classifier")).unwrap();
    assert_eq!(classifier.labels, ["no", "yes", "perhaps"]);
    assert!(classifier.config.pooler && classifier.config.pooling == Pooling::First);
    assert_eq!(classifier.activation, ActivationFn::GeluErf);
    let distil = read_model(&dir("distilbert_classifier")).unwrap();
    let activation = distil.pooler.map(|p| p.activation);
    assert_eq!(activation, Some(ActivationFn::Relu));
    let sentence = read_model(&dir("bert_sentence")).unwrap();
    assert_eq!(
        (sentence.config.seq_len, sentence.config.pooler),
        (8, false)
    );
    assert_eq!(sentence.positions.len(), 8 * 12);
    let cls = Options {
        pooling: Some(PoolingChoice::Cls),
        seq_len: Some(5),
        layers: Some(1),
    };
    let cut = read_model_with(&dir("bert_pooler"), &cls).unwrap();
    assert_eq!(cut.config.pooling, Pooling::First);
    assert!(!cut.config.pooler && cut.layers.len() == 1 && cut.config.seq_len == 5);
}

/// Quantized, each of them gives nearly what the framework gave.
#[test]
fn int8_follows_the_framework() {
    for name in ALL {
        let model = with_mean(name);
        let mut calibration = Calibration::default();
        let r = &mut Random::new(3);
        for _ in 0..100 {
            let len = 1 + r.below(model.config.seq_len.into()) as usize;
            let input = synthetic::input(&model.config, len, r);
            forward(&model, input.float(), &mut calibration);
        }
        let quantized = quantize(&model, &calibration).unwrap();
        let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
        let image = int8.image();
        let feature = image.feature().unwrap();
        let (mut signal, mut noise) = (0f64, 0f64);
        for case in expected(name) {
            let exact = run(&model, &case).pooled;
            let segments = match model.config.input {
                InputKind::Tokens { n_segments: 0, .. } => Vec::new(),
                _ => case.segments.clone(),
            };
            let inputs = [ModelInput::Tokens(case.ids.clone(), segments)];
            let found = int8.run(&int8.prepare(&inputs).unwrap(), &|| ()).unwrap();
            for (exact, &q) in exact.iter().zip(&found[0].pooled) {
                let found = (i32::from(q) - feature.zero_point()) as f32 * feature.scale();
                signal += f64::from(*exact).powi(2);
                noise += f64::from(exact - found).powi(2);
            }
        }
        let sqnr = 10.0 * libm::log10(signal / noise);
        assert!(sqnr > 22.0, "{name}: {sqnr} dB");
    }
}

/// A copy of a directory that may be spoilt.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(dir(name).join(file), copy.path().join(file)).unwrap();
    }
    copy
}

fn edit(dir: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

fn refused(dir: &Path, parts: &[&str]) {
    let error = read_model(dir).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    refused(
        &dir("distilbert"),
        &["distilbert", "--pooling mean or --pooling cls"],
    );
    let spoilt = copy("bert_classifier");
    edit(spoilt.path(), |c| c["hidden_size"] = 24.into());
    let shape = [
        "model.safetensors",
        "word_embeddings",
        "[20, 12]",
        "[20, 24]",
    ];
    refused(spoilt.path(), &shape);
    edit(spoilt.path(), |c| {
        c["hidden_size"] = 12.into();
        c["hidden_act"] = "silu".into();
    });
    refused(spoilt.path(), &["hidden_act", "\"silu\"", "\"gelu_new\""]);
    edit(spoilt.path(), |c| {
        c["hidden_act"] = "gelu".into();
        c["position_embedding_type"] = "relative_key".into();
    });
    refused(spoilt.path(), &["relative_key", "\"absolute\""]);
    edit(spoilt.path(), |c| {
        c["position_embedding_type"] = "absolute".into();
        c["architectures"][0] = "BertForTokenClassification".into();
    });
    refused(
        spoilt.path(),
        &["BertForTokenClassification", "single rows"],
    );
    edit(spoilt.path(), |c| {
        c["architectures"][0] = "BertForSequenceClassification".into();
        c["id2label"] = serde_json::json!({ "0": "no", "2": "yes" });
    });
    refused(spoilt.path(), &["id2label", "a name for each class"]);
    let weights = spoilt.path().join("model.safetensors");
    std::fs::rename(&weights, spoilt.path().join("pytorch_model.bin")).unwrap();
    refused(spoilt.path(), &["pytorch_model.bin", "safe_serialization"]);
}

#[test]
fn a_head_keeps_its_pooling() {
    let options = Options {
        pooling: Some(PoolingChoice::Mean),
        ..Options::default()
    };
    let error = read_model_with(&dir("bert_classifier"), &options).unwrap_err();
    assert!(error.to_string().contains("--pooling mean"), "{error}");
    let options = Options {
        layers: Some(3),
        ..Options::default()
    };
    let error = read_model_with(&dir("bert_classifier"), &options).unwrap_err();
    assert!(error.to_string().contains("give 1 to 2"), "{error}");
}

#[test]
fn modules_beyond_the_runtime_are_refused() {
    let spoilt = copy("bert_sentence");
    let dense = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]"#;
    std::fs::write(spoilt.path().join("modules.json"), dense).unwrap();
    refused(
        spoilt.path(),
        &["modules.json", "models.Dense", "Normalize"],
    );
}
