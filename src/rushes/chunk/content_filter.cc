#include "rushes/chunk/content_filter.h"

#include <algorithm>
#include <map>

namespace rushes {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// One rule as written: its sign and the text after it, trimmed.
struct Token {
  bool include;
  std::string text;
};

std::vector<Token> Tokenize(std::string_view text) {
  std::vector<Token> tokens;
  size_t pos = 0;
  while (pos < text.size()) {
    if (IsSpace(text[pos])) {
      ++pos;
      continue;
    }
    Token token{true, {}};
    if (text[pos] == '+' || text[pos] == '-') {
      token.include = text[pos] == '+';
      ++pos;
      while (pos < text.size() && IsSpace(text[pos]) && text[pos] != '\n') ++pos;
    }
    while (pos < text.size() && !IsSpace(text[pos])) {
      if (text[pos] == '\\' && pos + 1 < text.size()) token.text.push_back(text[pos++]);
      token.text.push_back(text[pos++]);
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

ContentFilter::ContentFilter(const std::vector<std::string>& expressions) {
  std::string all;
  for (const std::string& expression : expressions) {
    all += expression;
    all += ' ';
  }
  // A rule is its path and whether it covers the subtree. Of equal texts the last sign counts, of different texts for one rule the
  // greatest text: the map is ordered by text, later entries replace earlier ones.
  std::map<std::string, bool> by_text;
  for (Token& token : Tokenize(all)) by_text[token.text] = token.include;
  by_text.erase("");
  const EntityPath properties = EntityPath::Parse("/__properties");
  bool has_properties_rule = false;
  for (const auto& [text, include] : by_text) {
    Rule rule{EntityPath(), false, include, text};
    if (text == "/**" || text == "**") {
      rule.subtree = true;
    } else if (text.ends_with("/**")) {
      rule.subtree = true;
      rule.path = EntityPath::Parse(std::string_view(text).substr(0, text.size() - 3));
    } else {
      rule.path = EntityPath::Parse(text);
    }
    has_properties_rule |= rule.subtree && rule.path == properties;
    const auto same = std::find_if(rules_.begin(), rules_.end(),
                                   [&](const Rule& other) { return other.subtree == rule.subtree && other.path == rule.path; });
    if (same != rules_.end()) {
      *same = std::move(rule);
    } else {
      rules_.push_back(std::move(rule));
    }
  }
  if (!has_properties_rule) rules_.push_back(Rule{properties, true, false, "/__properties/**"});
  std::stable_sort(rules_.begin(), rules_.end(), [](const Rule& a, const Rule& b) {
    if (a.path.parts().size() != b.path.parts().size()) return a.path.parts().size() > b.path.parts().size();
    return !a.subtree && b.subtree;
  });
}

bool ContentFilter::Matches(const EntityPath& path) const {
  for (const Rule& rule : rules_) {
    if (rule.subtree ? path.StartsWith(rule.path) : path == rule.path) return rule.include;
  }
  return false;
}

std::string ContentFilter::ToString() const {
  std::string words;
  for (const Rule& rule : rules_) words.append(rule.include ? "+ " : "- ").append(rule.text).append("\n");
  return words;
}

std::string ContentView::ToString() const {
  std::string words;
  for (const ContentFilter& filter : filters_) words.append(filter.ToString()).append("and\n");
  return words;
}

bool ContentView::Matches(const EntityPath& path) const {
  if (filters_.empty()) return !path.IsProperty();
  return std::all_of(filters_.begin(), filters_.end(), [&](const ContentFilter& f) { return f.Matches(path); });
}

}  // namespace rushes
