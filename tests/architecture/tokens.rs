//! What the rules need to know of a source file: its tokens without comments and test code.
//!
//! Tokens, not text, so that a word in a comment or a string is never taken for code, and tokens
//! rather than a syntax tree, so that paths inside macro calls are seen too.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One source file.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub text: String,
    /// All tokens.
    tokens: Vec<TokenTree>,
    /// The tokens without items under `#[cfg(test)]`; empty for a file that is test code itself.
    product: Vec<TokenTree>,
}

/// A path as it is written, with the line it starts on; use groups are written out.
#[derive(Debug, PartialEq, Eq)]
pub struct CodePath {
    pub segments: Vec<String>,
    pub line: usize,
}

/// A function and the lines from `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Source {
        let stream: TokenStream =
            text.parse().unwrap_or_else(|error| panic!("{path} does not split into tokens: {error}"));
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let is_test = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let product = if is_test { Vec::new() } else { without_tests(tokens.clone()) };
        Source { path: path.to_owned(), text: text.to_owned(), tokens, product }
    }

    /// The folder or file under `src/` that names the module; `None` for `lib.rs` and `main.rs`.
    pub fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        match inside.split_once('/') {
            Some((module, _)) => Some(module),
            None => inside.strip_suffix(".rs").filter(|name| !matches!(*name, "lib" | "main")),
        }
    }

    /// How many modules lie between the crate's root and this file's code.
    fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).count()
    }

    /// Paths in product code.
    pub fn paths(&self) -> Vec<CodePath> {
        let mut out = Vec::new();
        collect_paths(&self.product, &mut out);
        out
    }

    /// The first-level modules of this crate that product code names, with lines: `crate::geo::x`
    /// is `geo`, and so is `super::super::geo::x` from a file two modules deep.
    pub fn imports(&self) -> Vec<(String, usize)> {
        let depth = self.depth();
        let named = |path: CodePath| {
            let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
            let skip = match path.segments.first().map(String::as_str) {
                Some("crate") => 1,
                Some("super") if supers >= depth => supers,
                _ => return None,
            };
            path.segments.into_iter().nth(skip).map(|module| (module, path.line))
        };
        self.paths().into_iter().filter_map(named).collect()
    }

    /// All functions with a body, test code included.
    pub fn functions(&self) -> Vec<Function> {
        let mut out = Vec::new();
        collect_functions(&self.tokens, &mut out);
        out
    }

    /// Lines on which the word `unsafe` stands as code, test code included.
    pub fn unsafe_lines(&self) -> Vec<usize> {
        let mut out = Vec::new();
        each(&self.tokens, &mut |token| {
            if is_ident(token, "unsafe") {
                out.push(line(token));
            }
        });
        out
    }

    /// Arguments of every `allow(...)` and `expect(...)` attribute in product code, with lines.
    pub fn allowed_lints(&self) -> Vec<CodePath> {
        let mut out = Vec::new();
        collect_allows(&self.product, &mut out);
        out
    }
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: Option<&TokenTree>, which: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == which)
}

fn inner(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// Calls `visit` on every token, groups entered.
fn each(tokens: &[TokenTree], visit: &mut dyn FnMut(&TokenTree)) {
    for token in tokens {
        visit(token);
        if let TokenTree::Group(group) = token {
            each(&inner(group), visit);
        }
    }
}

/// Drops `#[cfg(test)]` and the item after it, which ends at its brace or semicolon.
fn without_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_punct(tokens.get(at), '#') && tokens.get(at + 1).is_some_and(is_cfg_test) {
            at += 2;
            while at < tokens.len() && !ends_item(&tokens[at]) {
                at += 1;
            }
            at += 1;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let kept = without_tests(inner(group)).into_iter().collect();
                let mut copy = Group::new(group.delimiter(), kept);
                copy.set_span(group.span());
                out.push(TokenTree::Group(copy));
            }
            token => out.push(token.clone()),
        }
        at += 1;
    }
    out
}

fn is_cfg_test(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let text: String = group.stream().to_string().split_whitespace().collect();
    group.delimiter() == Delimiter::Bracket && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(Some(token), ';'),
    }
}

/// Whether `::` stands at `at`.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn collect_paths(tokens: &[TokenTree], out: &mut Vec<CodePath>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => at = path_at(tokens, at, &[], out),
            TokenTree::Group(group) => {
                collect_paths(&inner(group), out);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads the path that starts at `at`, behind `before`; gives the index after it.
fn path_at(tokens: &[TokenTree], mut at: usize, before: &[String], out: &mut Vec<CodePath>) -> usize {
    let line = line(&tokens[at]);
    let mut segments = before.to_vec();
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        segments.push(ident.to_string());
        at += 1;
        if !is_colons(tokens, at) {
            break;
        }
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(_)) => at += 2,
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                use_group(&inner(group), &segments, out);
                return at + 3;
            }
            _ => break,
        }
    }
    out.push(CodePath { segments, line });
    at
}

/// `{a, b::c, d::{e, f}}` behind a prefix.
fn use_group(tokens: &[TokenTree], before: &[String], out: &mut Vec<CodePath>) {
    let mut at = 0;
    let mut starts = true;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) if starts => {
                at = path_at(tokens, at, before, out);
                starts = false;
                continue;
            }
            token if is_punct(Some(token), ',') => starts = true,
            token if is_punct(Some(token), '*') => {
                out.push(CodePath { segments: before.to_vec(), line: line(token) });
            }
            _ => {}
        }
        at += 1;
    }
}

fn collect_functions(tokens: &[TokenTree], out: &mut Vec<Function>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            collect_functions(&inner(group), out);
        }
        let (true, Some(TokenTree::Ident(name))) = (is_ident(token, "fn"), tokens.get(at + 1)) else {
            continue;
        };
        let end = tokens[at..].iter().find(|token| ends_item(token));
        if let Some(TokenTree::Group(body)) = end {
            let (first, last) = (line(token), body.span_close().end().line);
            out.push(Function { name: name.to_string(), line: first, lines: last + 1 - first });
        }
    }
}

fn collect_allows(tokens: &[TokenTree], out: &mut Vec<CodePath>) {
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let inside = inner(group);
        let is_attribute = at > 0 && (is_punct(tokens.get(at - 1), '#') || is_punct(tokens.get(at - 1), '!'));
        let allows =
            inside.first().is_some_and(|first| is_ident(first, "allow") || is_ident(first, "expect"));
        if let (true, true, Some(TokenTree::Group(lints))) = (is_attribute, allows, inside.get(1)) {
            collect_paths(&inner(lints), out);
        } else {
            collect_allows(&inside, out);
        }
    }
}
