//! The host side of tailtune.
