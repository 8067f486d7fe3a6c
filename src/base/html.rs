//! Text for the pages that rhumb makes: what anybody may have written, made harmless in HTML.

/// The text as HTML shows it, also inside a quoted attribute. What is not to be seen becomes a space.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_of_a_text_is_taken_for_markup() {
        assert_eq!(
            escaped("<b title='a\"b'>R&D\u{1b}\n</b>"),
            "&lt;b title=&#39;a&quot;b&#39;&gt;R&amp;D  &lt;/b&gt;"
        );
        assert_eq!(escaped("東京, 5 ms"), "東京, 5 ms");
    }
}
