use super::*;
use ::safetensors::{Dtype, tensor::TensorView};
use std::collections::HashMap;
use std::fs;

fn wav(path: &Path, value: i16) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut w = hound::WavWriter::create(path, spec).unwrap();
    for _ in 0..100 {
        w.write_sample(value).unwrap();
    }
    w.finalize().unwrap();
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn tensors(path: &Path, features: &[f32], labels: &[i32], names: Option<&str>) {
    let n = labels.len();
    let features = bytes_of(features);
    let labels: Vec<u8> = labels.iter().flat_map(|x| x.to_le_bytes()).collect();
    let views = [
        (
            "features",
            TensorView::new(Dtype::F32, vec![n, features.len() / 4 / n], &features).unwrap(),
        ),
        (
            "labels",
            TensorView::new(Dtype::I32, vec![n], &labels).unwrap(),
        ),
    ];
    let metadata = names.map(|names| HashMap::from([("labels".to_owned(), names.to_owned())]));
    ::safetensors::serialize_to_file(views, metadata, path).unwrap();
}

fn message(path: &Path) -> String {
    Dataset::open(path).unwrap_err().to_string()
}

#[test]
fn folders_have_any_class_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "zoom in/a.wav",
        "صفر/b.WAV",
        "zoom in/c.wav",
        ".hidden/d.wav",
        "yes/notes.txt",
    ] {
        wav(&dir.path().join(name), 1);
    }
    let data = Dataset::open(dir.path()).unwrap();
    let labels: Vec<&str> = data.samples.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["zoom in", "zoom in", "صفر"]);
}

#[test]
fn an_empty_folder_says_what_is_expected() {
    let dir = tempfile::tempdir().unwrap();
    assert!(message(dir.path()).contains("one sub-folder a class"));
    assert!(message(&dir.path().join("nowhere")).contains("nowhere"));
    fs::write(dir.path().join("a.txt"), "x").unwrap();
    assert!(message(&dir.path().join("a.txt")).contains("manifest"));
}

#[test]
fn manifests_name_speakers() {
    let dir = tempfile::tempdir().unwrap();
    wav(&dir.path().join("clips/a b.wav"), 1);
    wav(&dir.path().join("clips/c.wav"), 1);
    let path = dir.path().join("all.csv");
    fs::write(
        &path,
        "path,label,speaker\nclips/a b.wav,\"yes, sir\",ann\nclips/c.wav,no,bob\n",
    )
    .unwrap();
    let data = Dataset::open(&path).unwrap();
    assert_eq!(data.samples[0].label, "yes, sir");
    assert_eq!(
        data.clone().only_speaker("bob").unwrap().samples,
        data.samples[1..]
    );
    let error = data.only_speaker("eve").unwrap_err().to_string();
    assert!(error.contains("ann, bob"), "{error}");
    // The same clip has the same id, whatever gave it.
    let folder = Dataset::open(dir.path()).unwrap();
    assert_eq!(
        folder.samples[0].id,
        Dataset::open(&path).unwrap().samples[0].id
    );

    fs::write(&path, "path,label\nclips/none.wav,x\n").unwrap();
    assert!(message(&path).contains("line 2") && message(&path).contains("none.wav"));
    fs::write(&path, "name,kind\nclips/c.wav,x\n").unwrap();
    assert!(message(&path).contains("name,kind"));
    fs::write(&path, "path,label\nclips/c.wav\n").unwrap();
    assert!(message(&path).contains("line 2"));
    fs::write(&path, "path,label\n").unwrap();
    assert!(matches!(Dataset::open(&path), Err(DataError::Empty { .. })));
}

#[test]
fn safetensors_hold_features() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.safetensors");
    tensors(
        &path,
        &[1.0, 2.0, 3.0, 4.0],
        &[1, 0],
        Some("[\"no\", \"yes\"]"),
    );
    let data = Dataset::open(&path).unwrap();
    assert_eq!(
        (
            data.samples[0].label.as_str(),
            data.samples[1].label.as_str()
        ),
        ("yes", "no")
    );
    assert_eq!(data.features(None).unwrap(), [[1.0, 2.0], [3.0, 4.0]]);

    tensors(&path, &[1.0, 2.0], &[2], Some("[\"no\", \"yes\"]"));
    assert!(message(&path).contains("label 2 of row 0 is out of range"));
    tensors(&path, &[1.0, 2.0], &[-1], None);
    assert!(message(&path).contains("label -1 of row 0 is out of range"));
    tensors(&path, &[1.0, f32::NAN], &[7], None);
    let data = Dataset::open(&path).unwrap();
    assert_eq!(data.samples[0].label, "7");
    assert!(matches!(
        data.features(None),
        Err(DataError::NotFinite { index: 1, .. })
    ));
    fs::write(&path, b"nonsense").unwrap();
    assert!(message(&path).contains("d.safetensors"));
}

/// Without names, a label is the number of the model's class.
#[test]
fn numbers_take_the_names_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.safetensors");
    let names = ["no".to_owned(), "yes".to_owned()];
    tensors(&path, &[1.0, 2.0, 3.0], &[1, 0, 2], None);
    let mut data = Dataset::open(&path).unwrap();
    data.name_classes(&names);
    let labels: Vec<&str> = data.samples.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["yes", "no", "2"]);
    // A class that is called "1" by its own data is not class 1 of the model.
    tensors(&path, &[1.0], &[0], Some("[\"1\"]"));
    let mut data = Dataset::open(&path).unwrap();
    data.name_classes(&names);
    assert_eq!(data.samples[0].label, "1");
}

#[test]
fn sound_without_a_front_end_says_so() {
    let dir = tempfile::tempdir().unwrap();
    wav(&dir.path().join("yes/a.wav"), 1);
    let data = Dataset::open(dir.path()).unwrap();
    assert!(matches!(
        data.features(None),
        Err(DataError::NoFrontEnd { .. })
    ));
}

#[test]
fn speakers_are_named_by_files_or_by_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    wav(&dir.path().join("digits/3_ann_0.wav"), 1);
    wav(&dir.path().join("words/zoom in/bo_NO_1.wav"), 1);
    fs::write(dir.path().join("words/README.md"), "no clip").unwrap();
    let named = |folder: &str| {
        let data = Dataset::open_spoken(&dir.path().join(folder)).unwrap();
        let sample = &data.samples[0];
        assert_eq!(data.samples.len(), 1);
        (sample.label.clone(), sample.speaker.clone().unwrap())
    };
    assert_eq!(named("digits"), ("3".into(), "ann".into()));
    assert_eq!(named("words"), ("zoom in".into(), "bo".into()));
    let clip = dir.path().join("digits/3_ann_0.wav");
    let list = |speaker: &str| {
        let text = format!("path,label,speaker\n{},three,{speaker}\n", clip.display());
        let path = dir.path().join("list.csv");
        fs::write(&path, text).unwrap();
        Dataset::open_spoken(&path)
    };
    assert_eq!(
        list("ann").unwrap().samples[0].speaker.as_deref(),
        Some("ann")
    );
    assert!(matches!(list(""), Err(DataError::NoSpeaker { .. })));
    let empty = Dataset::open_spoken(&dir.path().join("words/zoom in/none"));
    assert!(matches!(empty, Err(DataError::Io { .. })));
    fs::create_dir(dir.path().join("nothing")).unwrap();
    let empty = Dataset::open_spoken(&dir.path().join("nothing"));
    assert!(matches!(empty, Err(DataError::Empty { .. })));
}

#[test]
fn shots_are_drawn_by_the_seed() {
    let sample = |i: usize| Sample {
        id: i.to_string(),
        label: (i % 3).to_string(),
        speaker: None,
        source: Source::Zeros,
    };
    let data = Dataset {
        samples: (0..30).map(sample).collect(),
        numbered: false,
    };
    let picked = data.pick_shots(4, 7).unwrap();
    assert_eq!(picked, data.pick_shots(4, 7).unwrap());
    assert_ne!(picked, data.pick_shots(4, 8).unwrap());
    for class in 0..3 {
        assert_eq!(picked.iter().filter(|&&i| i % 3 == class).count(), 4);
    }
    assert!(matches!(
        data.pick_shots(11, 1),
        Err(DataError::TooFew {
            found: 10,
            wanted: 11,
            ..
        })
    ));
}
