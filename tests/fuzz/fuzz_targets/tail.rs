//! Any bytes as a tail: a typed error, or one whose logits can be computed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailtune::model::Features;
use tailtune::tune::{HeadOrigin, Tail};

fuzz_target!(|data: &[u8]| {
    let Ok(tail) = Tail::parse(data) else { return };
    let values = vec![1i8; tail.d_model()];
    let features = Features {
        values: &values,
        scale: 0.05,
        zero_point: 0,
    };
    let mut logits = vec![0.0; tail.classes()];
    tail.logits(&features, &mut logits)
        .expect("the shapes are the tail's own");
    assert!(tail.added_names().count() <= tail.classes());
});
