//! Who runs: what a pod and its container say about it, to be looked up in the image.

use super::Credentials;
use crate::error::{Error, Result};
use crate::image::users::{User, Wanted};
use crate::kube::Pod;
use k8s_openapi::api::core::v1::{Container, PodSecurityContext};

/// Whom `securityContext` asks for, the container's before the pod's, and else the image's USER.
pub fn wanted_user<'a>(pod: &Pod, container: &Container, image_user: &'a str) -> Wanted<'a> {
    let of_pod = security_context(pod);
    let own = container.security_context.as_ref();
    Wanted {
        image: image_user,
        uid: own.and_then(|own| own.run_as_user).or(of_pod.run_as_user),
        gid: own.and_then(|own| own.run_as_group).or(of_pod.run_as_group),
    }
}

/// The user found, with the groups that the pod adds to the image's.
pub fn credentials(pod: &Pod, user: User) -> Result<Credentials> {
    let of_pod = security_context(pod);
    let User { uid, gid, mut groups } = user;
    if of_pod.supplemental_groups_policy.as_deref() == Some("Strict") {
        groups = vec![gid];
    }
    for id in of_pod.fs_group.into_iter().chain(of_pod.supplemental_groups.into_iter().flatten()) {
        let id = u32::try_from(id).ok().filter(|id| *id <= i32::MAX.unsigned_abs());
        let id = id.ok_or_else(|| Error::user("uids and gids must be in range 0-2147483647"))?;
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    Ok(Credentials { uid, gid, groups })
}

/// `runAsNonRoot`, as the kubelet checks it: by what the manifest or the image says, not by what the
/// image's passwd file makes of a name.
pub fn verify_non_root(pod: &Pod, container: &Container, image_user: &str) -> Result<()> {
    let of_pod = security_context(pod);
    let own = container.security_context.as_ref();
    let wanted = own.and_then(|own| own.run_as_non_root).or(of_pod.run_as_non_root);
    if wanted != Some(true) {
        return Ok(());
    }
    let meta = &pod.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let pod = format!("{}_{}({})", part(&meta.name), part(&meta.namespace), part(&meta.uid));
    let place = format!("(pod: {pod:?}, container: {})", container.name);
    let refuse = |why: String| Err(Error::user(format!("{why} {place}")));
    match own.and_then(|own| own.run_as_user).or(of_pod.run_as_user) {
        Some(0) => return refuse("container's runAsUser breaks non-root policy".into()),
        Some(_) => return Ok(()),
        None => {}
    }
    let user = image_user.split(':').next().unwrap_or_default();
    let is_number = user.bytes().all(|byte| byte.is_ascii_digit());
    match user.parse::<i64>() {
        Ok(0) => refuse("container has runAsNonRoot and image will run as root".into()),
        // CVE-2024-40635: a number that wraps around to 0.
        Ok(uid) if is_number && uid > i64::from(i32::MAX) => refuse(format!(
            "container has runAsNonRoot and image has an invalid user id ({uid}). \
             (Must be 1-(2147483647)):"
        )),
        Ok(_) if is_number => Ok(()),
        _ if user.is_empty() => {
            refuse("container has runAsNonRoot and image will run as root".into())
        }
        _ => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify \
             user is non-root"
        )),
    }
}

fn security_context(pod: &Pod) -> PodSecurityContext {
    pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::users::resolve;
    use serde_json::{Value, json};

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\nlogs:x:50:www,other\n";

    fn ids(pod: Value, container: Value, image: &str) -> Result<(u32, u32, Vec<u32>)> {
        let pod = json!({"spec": {"containers": [], "securityContext": pod}});
        let container = json!({"name": "c", "securityContext": container});
        let pod = serde_json::from_value(pod).unwrap();
        let container = serde_json::from_value(container).unwrap();
        let user = resolve(wanted_user(&pod, &container, image), PASSWD, GROUP)?;
        let found = credentials(&pod, user)?;
        Ok((found.uid, found.gid, found.groups))
    }

    #[test]
    fn the_containers_word_counts_before_the_pods_and_the_images() {
        let none = || json!({});
        let cases = [
            (none(), none(), "", (0, 0, vec![0])),
            (none(), none(), "www", (33, 34, vec![34, 50])),
            (json!({"runAsUser": 33}), none(), "7:8", (33, 34, vec![34, 50])),
            (json!({"runAsUser": 33}), json!({"runAsUser": 5}), "", (5, 0, vec![0])),
            (json!({"runAsGroup": 9}), none(), "www", (33, 9, vec![9, 50])),
            (
                json!({"fsGroup": 200, "supplementalGroups": [50, 201]}),
                none(),
                "www",
                (33, 34, vec![34, 50, 200, 201]),
            ),
        ];
        for (pod, container, image, expected) in cases {
            let shown = format!("{pod} {container} {image}");
            assert_eq!(ids(pod, container, image).unwrap(), expected, "{shown}");
        }
        for pod in [json!({"fsGroup": -1}), json!({"supplementalGroups": [4_294_967_296_i64]})] {
            assert!(ids(pod.clone(), json!({}), "").is_err(), "{pod}");
        }
    }
    #[test]
    fn root_is_told_from_others_as_the_kubelet_does() {
        let says = |user: Option<i64>, image: &str| {
            let context = json!({"runAsNonRoot": true, "runAsUser": user});
            let spec = json!({"containers": [], "securityContext": context});
            let metadata = json!({"name": "p", "namespace": "ns", "uid": "u"});
            let pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
            let container = serde_json::from_value(json!({"name": "c"})).unwrap();
            verify_non_root(&pod, &container, image).err().map(|error| error.to_string())
        };
        let place = "(pod: \"p_ns(u)\", container: c)";
        let root = format!("container has runAsNonRoot and image will run as root {place}");
        let name = format!(
            "container has runAsNonRoot and image has non-numeric user (www), cannot verify user \
             is non-root {place}"
        );
        let broken = format!("container's runAsUser breaks non-root policy {place}");
        for (user, image, expected) in [
            (None, "", Some(&root)),
            (None, "0", Some(&root)),
            (None, "0:5", Some(&root)),
            (None, "www", Some(&name)),
            (None, "1000", None),
            (Some(0), "1000", Some(&broken)),
            (Some(7), "", None),
        ] {
            assert_eq!(says(user, image).as_ref(), expected, "{user:?} {image:?}");
        }
        for image in ["4294967296", "-1", "99999999999999999999"] {
            assert!(says(None, image).is_some(), "{image}");
        }
    }
}
