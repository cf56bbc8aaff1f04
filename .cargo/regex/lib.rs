//! Stands in for the crate regex with regex-lite, whose interface is the same (docs/decisions/0015).
//! oci-spec checks one short ASCII field with it; the engines and Unicode tables of regex would be
//! a seventh of `runp`.

pub use regex_lite::*;
