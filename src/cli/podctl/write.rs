//! What the verbs that change objects have in common: flags, and how they say what they did.

use super::form::Form;
use super::{Call, print, tell};
use crate::cli::output::{self, Asked, Format};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{Decoded, Fields, Object};
use crate::pod::Commit;
use clap::Args;
use std::io::Read;

/// Where manifests come from.
#[derive(Args)]
pub struct Files {
    /// Files, directories or URLs of manifests, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    pub filename: Vec<String>,
    /// Process directories recursively
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A kustomize directory; refused
    #[arg(short = 'k', long, value_name = "DIR", hide = true)]
    pub kustomize: Option<String>,
}

impl Files {
    /// Refuses `-k`, and says whether there is anything to read.
    pub fn given(&self) -> Result<bool> {
        if let Some(dir) = &self.kustomize {
            return Err(Error::user("-k: runp does not build kustomizations")
                .hint(format!("kubectl kustomize {dir} | podctl apply -f -")));
        }
        Ok(!self.filename.is_empty())
    }

    /// As [`Files::given`], of verbs that need files.
    pub fn needed(&self) -> Result<()> {
        match self.given()? {
            true => Ok(()),
            false => Err(Error::user("must specify one of -f and -k")),
        }
    }
}

/// What is done with unknown fields.
#[derive(Args)]
pub struct Unknown {
    /// Unknown fields: strict refuses them, warn tells of them, ignore drops them
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true,
        default_missing_value = "strict", default_value = "strict", hide_default_value = true)]
    validate: String,
}

impl Unknown {
    /// `--validate`.
    pub fn fields(&self) -> Result<Fields> {
        match self.validate.as_str() {
            "strict" | "true" => Ok(Fields::Strict),
            "warn" => Ok(Fields::Warn),
            "ignore" | "false" => Ok(Fields::Ignore),
            other => Err(Error::user(format!(
                "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
            ))),
        }
    }
}

/// What is done with the result.
#[derive(Args)]
pub struct Sent {
    /// Only check: none, client or server
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "unchanged", default_value = "none", hide_default_value = true)]
    dry_run: String,
    #[command(flatten)]
    pub form: Form,
    /// Accepted for kubectl's sake
    #[arg(long, value_name = "NAME", hide = true)]
    field_manager: Option<String>,
}

/// `--dry-run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// It is done.
    No,
    /// What was given is shown.
    Client,
    /// What would be stored is shown.
    Server,
}

impl DryRun {
    /// What the engine is told.
    pub fn commit(self) -> Commit {
        if self == Self::No { Commit::Store } else { Commit::Check }
    }

    /// Reads the value of `--dry-run`.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "none" | "false" => Ok(Self::No),
            "client" | "true" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            "unchanged" => {
                tell("W: --dry-run is deprecated and can be replaced with --dry-run=client.");
                Ok(Self::Client)
            }
            other => Err(Error::user(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// What is said behind what was done.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

impl Sent {
    /// `--dry-run`.
    pub fn dry_run(&self) -> Result<DryRun> {
        DryRun::parse(&self.dry_run)
    }

    /// The printer of the results.
    pub fn printer(&self) -> Result<Printer> {
        let format = self.form.format()?;
        Ok(Printer { format, dry_run: self.dry_run()?, shown: 0 })
    }
}

/// Says what became of each object.
pub struct Printer {
    format: Format,
    /// `--dry-run`.
    pub dry_run: DryRun,
    shown: usize,
}

impl Printer {
    /// For objects that were made of flags alone.
    pub fn typed(self) -> Self {
        Self { format: self.format.typed(), ..self }
    }

    /// Whether objects are shown, and not a line about each.
    pub fn shows(&self) -> bool {
        self.format != Format::Table
    }

    /// `pod/web created`, or the object.
    pub fn one(&mut self, object: &Object, what: &str) -> Result<()> {
        if !self.shows() {
            let (kind, name) = (object.resource().singular(), object.name());
            // One that gets its name from the store.
            let name = if name.is_empty() { "<unknown>" } else { name };
            return print(&format!("{kind}/{name} {what}{}\n", self.dry_run.suffix()));
        }
        if self.format == Format::Yaml && self.shown > 0 {
            print("---\n")?;
        }
        self.shown += 1;
        print(&output::objects(std::slice::from_ref(object), &self.format, Asked::One)?)
    }

    /// All objects, as one List if there are several.
    pub fn all(&self, objects: &[Object]) -> Result<()> {
        match objects.len() {
            0 => Ok(()),
            1 => print(&output::objects(objects, &self.format, Asked::One)?),
            _ => print(&output::objects(objects, &self.format, Asked::Many)?),
        }
    }
}

/// Puts an object where it belongs: the manifest's own namespace, or the one given.
pub fn place(call: &Call, decoded: &mut Decoded) -> Result<()> {
    decoded.warnings.iter().for_each(|warning| tell(&format!("Warning: {warning}")));
    let object = &mut decoded.object;
    if !object.resource().namespaced() {
        object.metadata_mut().namespace = None;
        return Ok(());
    }
    let own = object.metadata_mut().namespace.get_or_insert_with(|| call.namespace.clone());
    if own.is_empty() {
        own.clone_from(&call.namespace);
    }
    if !call.namespace_given || *own == call.namespace {
        return Ok(());
    }
    Err(Error::user(format!(
        "the namespace from the provided object \"{own}\" does not match the namespace \"{}\". \
         You must pass '--namespace={own}' to perform this operation.",
        call.namespace
    )))
}

/// The API's errors say which file they are about; those about invalid objects name the object.
pub fn in_file(error: Error, doing: &str, file: &str) -> Error {
    match error.kind() {
        Kind::NotFound
        | Kind::AlreadyExists
        | Kind::Conflict
        | Kind::BadRequest
        | Kind::Forbidden => error.doing(format!("error when {doing} \"{file}\"")),
        _ => error,
    }
}

/// A command line that is wrong as a whole.
pub fn usage(verb: &str, text: &str) -> Error {
    Error::user(format!("{text}\nSee 'podctl {verb} -h' for help and examples"))
}

/// The one name that a verb needs.
pub fn the_name(verb: &str, names: &[String]) -> Result<String> {
    match names {
        [name] => Ok(name.clone()),
        names => Err(usage(verb, &format!("exactly one NAME is required, got {}", names.len()))),
    }
}

/// What only the server sets, in an object that was made of `stored` without it.
pub fn keep_server_fields(object: &mut Object, stored: &Object) {
    let (new, old) = (object.metadata_mut(), stored.metadata());
    new.uid.clone_from(&old.uid);
    new.creation_timestamp.clone_from(&old.creation_timestamp);
    new.generation = old.generation;
    new.resource_version.clone_from(&old.resource_version);
    if let (Object::Pod(new), Object::Pod(old)) = (object, stored) {
        new.status.clone_from(&old.status);
    }
}

/// Five letters and digits for the end of a name, of those that make no words.
pub fn random_letters() -> Result<String> {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = [0_u8; 5];
    let source = std::fs::File::open("/dev/urandom");
    source.and_then(|mut from| from.read_exact(&mut random)).doing(|| "make a name")?;
    let letter = |byte: &u8| {
        let at = usize::from(*byte) % ALPHABET.len();
        ALPHABET.get(at).map_or('x', |letter| char::from(*letter))
    };
    Ok(random.iter().map(letter).collect())
}

/// A stored pod's name.
pub fn name_of(pod: &crate::kube::Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
