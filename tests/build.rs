//! Lists the hostile guests, so that one without an assertion does not compile
//! (`tests/sandbox/hostile.rs`).

use std::path::{Path, PathBuf};

/// Where they are, below `guests/hostile`.
const FOLDERS: [&str; 3] = ["examples", "components", "cores"];

fn main() {
    let guests = Path::new("../guests/hostile");
    let mut names = Vec::new();
    for folder in FOLDERS {
        let folder = guests.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let files = std::fs::read_dir(folder).expect("the hostile guests have their folders");
        let paths = files.map(|file| file.expect("the folder can be read").path());
        names.extend(paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())));
    }
    names.sort();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a folder"));
    let list = format!("const _: &[fn()] = &[{}];\n", names.join(", "));
    std::fs::write(out.join("every_hostile_guest.rs"), list).expect("the folder is ours");
    let list = format!("pub const HOSTILE: &[&str] = &{names:?};\n");
    std::fs::write(out.join("hostile_names.rs"), list).expect("the folder is ours");
}
