//! Volumes.

use super::{fill, pull_policy};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, ProjectedVolumeSource, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// 0644.
const MODE: i32 = 0o644;
/// Seconds that a projected token is valid.
const TOKEN_LIFE: i64 = 3600;

/// Those of one volume; one without a source is an emptyDir.
pub fn defaults(volume: &mut Volume) {
    if *volume == (Volume { name: volume.name.clone(), ..Default::default() }) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(MODE);
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(MODE);
        source.items.iter_mut().flatten().for_each(downward);
    }
    if let Some(source) = &mut volume.image {
        let policy = pull_policy(source.reference.as_deref().unwrap_or_default());
        fill(&mut source.pull_policy, policy);
    }
    volume.projected.iter_mut().for_each(projected);
}

fn projected(volume: &mut ProjectedVolumeSource) {
    volume.default_mode.get_or_insert(MODE);
    for source in volume.sources.iter_mut().flatten() {
        if let Some(downward_api) = &mut source.downward_api {
            downward_api.items.iter_mut().flatten().for_each(downward);
        }
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(TOKEN_LIFE);
        }
    }
}

fn downward(file: &mut DownwardAPIVolumeFile) {
    if let Some(field) = &mut file.field_ref {
        fill(&mut field.api_version, "v1");
    }
    if let Some(resource) = &mut file.resource_field_ref {
        resource.divisor.get_or_insert_with(|| Quantity("0".into()));
    }
}
