//! `list`.

use super::state;
use crate::error::{Kind, Result};
use crate::oci::container::{Container, State};
use std::path::Path;

/// The states of all containers below `root`, sorted by id. Those that cannot be read are left
/// out; [`list_all`] names them.
pub fn list(root: &Path) -> Result<Vec<State>> {
    Ok(list_all(root)?.into_iter().filter_map(|(_, state)| state.ok()).collect())
}

/// Each container below `root` by id, with its state or why that cannot be told.
pub fn list_all(root: &Path) -> Result<Vec<(String, Result<State>)>> {
    let mut states = Vec::new();
    for id in Container::ids(root)? {
        match state(root, &id) {
            // Deleted since the directory was read.
            Err(error) if error.kind() == Kind::NotFound => {}
            state => states.push((id, state)),
        }
    }
    Ok(states)
}
