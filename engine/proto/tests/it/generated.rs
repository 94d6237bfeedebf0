//! The checked-in types of `trunkline.proto` are what the generator makes of it.
//!
//! They are checked in so that a build needs no parser of `.proto` files. To write them anew:
//! `TRUNKLINE_GENERATE=1 cargo test -p trunkline-proto --test it generated`.

use std::path::Path;

/// The variable of the environment that has the test write the file and not compare it.
const GENERATE: &str = "TRUNKLINE_GENERATE";

/// Returns the types of `trunkline.proto` as Rust source.
fn generated(folder: &Path) -> String {
    let files = protox::compile(["trunkline.proto"], [folder]).expect("a good trunkline.proto");
    let out = tempfile::tempdir().expect("a folder");
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(files)
        .expect("source");
    std::fs::read_to_string(out.path().join("trunkline.v1.rs")).expect("the source")
}

#[test]
fn the_checked_in_types_are_those_of_the_proto_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("src/protobuf/wire.rs");
    let generated = generated(folder);
    if std::env::var_os(GENERATE).is_some() {
        std::fs::write(&path, generated).expect("the file is written");
        return;
    }
    let checked_in = std::fs::read_to_string(&path).expect("the file");
    let differs = generated
        .lines()
        .zip(checked_in.lines())
        .position(|(wanted, found)| wanted != found);
    assert!(
        generated == checked_in,
        "{} is not what trunkline.proto says (first different line: {differs:?}, counted from 0): \
         {GENERATE}=1 cargo test -p trunkline-proto --test it generated",
        path.display()
    );
}
