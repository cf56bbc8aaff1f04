//! `state`.

use crate::error::Result;
use crate::oci::container::{Container, State};
use std::path::Path;

/// The state of one container.
pub fn state(root: &Path, id: &str) -> Result<State> {
    let container = Container::open(root, id)?;
    Ok(container.state(container.status()?))
}
