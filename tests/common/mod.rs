//! What several test files share.
#![allow(dead_code)]

pub mod mock_flash;
pub mod random;
pub mod store_fuzz;
pub mod tails;
