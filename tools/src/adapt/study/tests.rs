use super::*;

fn clip(word: &str, speaker: &str) -> Clip {
    Clip {
        word: word.into(),
        speaker: speaker.into(),
        sample: Labelled {
            feature: Vec::new(),
            latent: Vec::new(),
            label: 0,
        },
    }
}

#[test]
fn drawn_clips_and_the_others_are_all() {
    let speakers = ["ann", "bo", "cy", "di"];
    let mut clips: Vec<Clip> = speakers
        .iter()
        .flat_map(|s| [clip("yes", s), clip("no", s)])
        .collect();
    assert_eq!(number(&mut clips), ["no", "yes"]);
    let all: Vec<&Clip> = clips.iter().collect();
    let keys = |clips: &[&Clip]| -> Vec<String> {
        clips
            .iter()
            .map(|c| format!("{} {}", c.word, c.speaker))
            .collect()
    };
    let (picked, rest) = draw(&all, 2, 1, 3);
    assert_eq!((picked.len(), rest.len()), (2, 6));
    let mut both = [keys(&picked), keys(&rest)].concat();
    both.sort();
    both.dedup();
    assert_eq!(both.len(), 8);
    assert_eq!(keys(&picked), keys(&draw(&all, 2, 1, 3).0));
    assert!((4..9).any(|seed| keys(&draw(&all, 2, 1, seed).0) != keys(&picked)));
    assert_eq!(draw(&all, 2, 9, 3).1.len(), 0);
}

#[test]
fn no_speaker_is_learned_and_measured() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let clips: Vec<Clip> = names.iter().map(|s| clip("yes", s)).collect();
    for seed in 1..6 {
        let (learn, other) = split_speakers(&clips, seed);
        assert_eq!((learn.len(), other.len()), (4, 2));
        assert!(other.iter().all(|s| !learn.contains(s)));
        assert_eq!(of_speakers(&clips, &other).len(), 2);
    }
}
