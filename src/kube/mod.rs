//! What Kubernetes means, as pure functions over the API's own types. No I/O.
//!
//! A manifest goes through [`decode`] (strictly, and refusing by name what [`support`] does not
//! list), [`set_defaults`] and [`validate`]; [`resources`] turns its quantities into the kernel's
//! numbers, [`status`] and [`table`] into what `get` shows.

pub mod api;
mod cause;
mod decode;
pub mod defaults;
pub mod duration;
pub mod explain;
pub mod fields;
mod json;
mod object;
pub mod patch;
pub mod quantity;
pub mod resources;
pub mod roster;
mod rules;
pub mod selector;
pub mod status;
mod strict;
pub mod support;
pub mod table;
mod text;
mod validate;

pub use api::Resource;
pub use decode::{Decoded, Fields, decode, decode_as, object_of, value_of};
pub use defaults::set_defaults;
pub use fields::FieldSelector;
pub use k8s_openapi::api::core::v1::Pod;
pub use object::Object;
pub use quantity::Quantity;
pub use selector::Selector;
pub use validate::{
    config_key, forbidden_sysctls, label_value, namespace_name, pod_name, validate, validate_update,
};
