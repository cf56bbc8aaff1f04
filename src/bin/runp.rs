//! `runp`: see [`runp::cli::runp`].
#![cfg_attr(not(test), no_main)]

#[global_allocator]
static MEMORY: runp::sys::alloc::Short = runp::sys::alloc::Short::new();

#[cfg(not(test))]
runp::program!(runp::cli::runp::main);
