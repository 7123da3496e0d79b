//! The store in random flash, and after random operations.

mod common;

use common::store_fuzz::{contents, operations};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_contents_give_an_error_or_a_sound_tail(data in prop::collection::vec(any::<u8>(), 0..600)) {
        contents(&data);
    }

    #[test]
    fn any_operations_match_the_model(data in prop::collection::vec(any::<u8>(), 0..200)) {
        operations(&data);
    }
}
