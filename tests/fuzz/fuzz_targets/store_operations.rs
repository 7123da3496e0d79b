//! Any bytes as operations on a store with power cuts: what a boot finds is what a model in RAM says.
#![no_main]

#[path = "../../common/mod.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| common::store_fuzz::operations(data));
