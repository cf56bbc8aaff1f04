//! A bundle: a directory with `config.json`
//! ([runtime-spec, bundle](https://github.com/opencontainers/runtime-spec/blob/main/bundle.md)).

use crate::error::Result;
use oci_spec::runtime::Spec;
use std::path::{Path, PathBuf};

/// A loaded bundle.
pub struct Bundle {
    /// The bundle's directory, absolute.
    pub dir: PathBuf,
    /// The configuration.
    pub spec: Spec,
}

impl Bundle {
    /// Loads `dir/config.json`; an error names the JSON path of what is wrong.
    pub fn load(dir: &Path) -> Result<Self> {
        todo!("core: {dir:?}")
    }
}
