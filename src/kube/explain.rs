//! What the API's fields are, in the API's own words: `explain/fields.txt`, which
//! `explain/fields.py` makes of the k8s-openapi crate's source. A line `Type<TAB>words` begins a
//! type, a line `  field<TAB>type[ -required-]<TAB>words` is one of its fields.

use super::Resource;

const FIELDS: &str = include_str!("explain/fields.txt");

/// A type of the API, as the lines that are about it.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// What it is.
    pub words: &'static str,
    lines: &'static str,
}

/// A field of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As in a manifest.
    pub name: &'static str,
    /// `[]Container`, `map[string]string`.
    pub kind: &'static str,
    /// Whether there is no object without it.
    pub required: bool,
    /// What it is.
    pub words: &'static str,
}

/// What all kinds have, and no type says.
const HEAD: [Field; 2] = [
    Field {
        name: "apiVersion",
        kind: "string",
        required: false,
        words: "APIVersion defines the versioned schema of this representation of an object. \
                Servers should convert recognized schemas to the latest internal value, and may \
                reject unrecognized values. More info: \
                https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    },
    Field {
        name: "kind",
        kind: "string",
        required: false,
        words: "Kind is a string value representing the REST resource this object represents. \
                Servers may infer this from the endpoint the client submits requests to. Cannot be \
                updated. In CamelCase. More info: \
                https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    },
];

impl Type {
    /// The type of that name; `[]` and `map[string]` around it are passed over.
    pub fn find(name: &str) -> Option<Self> {
        let bare = name.trim_start_matches("[]").trim_start_matches("map[string]");
        let mut rest = FIELDS;
        loop {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            let (found, words) = line.split_once('\t')?;
            if found != bare {
                continue;
            }
            // Up to the next line that is not indented.
            let mut end = 0;
            for line in rest.split_inclusive('\n').take_while(|line| line.starts_with(' ')) {
                end += line.len();
            }
            return Some(Self { words, lines: rest.get(..end)? });
        }
    }

    /// The type of a kind's objects.
    pub fn of(resource: Resource) -> Option<Self> {
        Self::find(resource.kind())
    }

    /// Its fields by name.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        self.lines.lines().filter_map(|line| {
            let mut cells = line.trim_start().splitn(3, '\t');
            let (name, kind, words) = (cells.next()?, cells.next()?, cells.next()?);
            let required = kind.ends_with(" -required-");
            Some(Field { name, kind: kind.trim_end_matches(" -required-"), required, words })
        })
    }
}

/// The fields of a whole object of a kind.
pub fn fields_of(resource: Resource) -> Vec<Field> {
    let own = Type::of(resource).into_iter().flat_map(Type::fields);
    let mut all: Vec<Field> = HEAD.into_iter().chain(own).collect();
    all.sort_by_key(|field| field.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_explained() {
        for resource in Resource::ALL {
            let found = Type::of(resource).unwrap_or_else(|| panic!("{}", resource.kind()));
            assert!(!found.words.is_empty() && found.fields().count() > 0, "{}", resource.kind());
        }
        let spec = Type::find("[]Container").unwrap();
        let image = spec.fields().find(|field| field.name == "image").unwrap();
        assert_eq!((image.kind, image.required), ("string", false));
        assert!(image.words.starts_with("Container image name."), "{}", image.words);
        let name = spec.fields().find(|field| field.name == "name").unwrap();
        assert!(name.required);
        assert!(Type::find("Nonsense").is_none());
    }
}
