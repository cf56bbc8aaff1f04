//! What kubectl has below its verbs and podctl has not, by name, and what there is instead.

/// Verb, flag, and what there is instead.
const FLAGS: [(&str, &str, &str); 19] = [
    ("apply", "--subresource", OWN),
    ("create", "--raw", "there is no server that answers URIs: podctl create -f FILE"),
    ("create", "--windows-line-endings", LINES),
    ("delete", "--raw", "there is no server that answers URIs: podctl delete TYPE NAME"),
    ("diff", "--prune", PRUNED),
    ("diff", "--prune-allowlist", PRUNED),
    ("edit", "--output-patch", "podctl diff -f FILE shows what a change would be"),
    ("edit", "--subresource", OWN),
    ("edit", "--windows-line-endings", LINES),
    ("edit-last-applied", "--windows-line-endings", LINES),
    ("replace", "--raw", "there is no server that answers URIs: podctl replace -f FILE"),
    ("replace", "--subresource", OWN),
    ("run", "--filename", MADE),
    ("run", "--kustomize", MADE),
    ("run", "--recursive", MADE),
    ("run", "-R", MADE),
    ("run", "-f", MADE),
    ("run", "-k", MADE),
    ("wait", "--local", "what is only in a file does not change"),
];
const OWN: &str = "what stands in an object's status is what runp found";
const LINES: &str = "lines end as Linux has it";
const PRUNED: &str = "podctl apply --prune --dry-run=server says what would go";
const MADE: &str = "run makes a pod of its flags: podctl create -f FILE makes that of a file";

/// Verb, word below it, and what there is instead.
const WORDS: [(&str, &str, &str); 13] = [
    ("auth", "reconcile", "runp has no roles: root may do everything"),
    ("config", "delete-cluster", ONE),
    ("config", "delete-context", ONE),
    ("config", "delete-user", ONE),
    ("config", "rename-context", ONE),
    ("config", "set", ONE),
    ("config", "set-cluster", ONE),
    ("config", "set-credentials", ONE),
    ("config", "unset", ONE),
    ("set", "selector", "runp has no services"),
    ("set", "serviceaccount", "a pod's service account cannot be changed"),
    ("set", "sa", "a pod's service account cannot be changed"),
    ("set", "subject", "runp has no roles: root may do everything"),
];
const ONE: &str = "there is one context, this machine; podctl config set-context --current -n NAME \
                   sets its namespace";

/// What there is instead of a flag of one of these verbs.
pub fn flag(verbs: &[&str], flag: &str) -> Option<&'static str> {
    let found = FLAGS.iter().find(|(verb, name, _)| verbs.contains(verb) && *name == flag);
    found.map(|(.., instead)| *instead)
}

/// What there is instead of a word below a verb.
pub fn word(verb: &str, word: &str) -> Option<&'static str> {
    let found = WORDS.iter().find(|(above, name, _)| *above == verb && *name == word);
    found.map(|(.., instead)| *instead)
}
