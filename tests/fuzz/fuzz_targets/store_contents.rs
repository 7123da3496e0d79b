//! Any bytes as a store's flash: a typed error, or a tail whose checks hold; and room for a save.
#![no_main]

#[path = "../../common/mod.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| common::store_fuzz::contents(data));
