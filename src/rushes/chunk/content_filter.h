// Content filters: which entities of a dataset are in view.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rushes/chunk/entity_path.h"

namespace rushes {

// A set of include and exclude rules over entity paths. A plain value.
//
// All expressions are joined with spaces and split at unescaped white space; a token is an optional sign and a path; a path ending
// in `/**` covers the whole subtree. The longest rule that covers an entity wins, an exact rule before a subtree rule on the same
// path; what no rule covers is out. `- /__properties/**` holds unless a rule for exactly that subtree is given.
// Nothing is ever a syntax error. docs/query.md, "Content filters".
class ContentFilter {
 public:
  // Everything but properties: `/**`.
  ContentFilter() : ContentFilter(std::vector<std::string>{"/**"}) {}
  explicit ContentFilter(const std::vector<std::string>& expressions);

  bool Matches(const EntityPath& path) const;
  // Its rules in words; equal words select the same entities.
  std::string ToString() const;

 private:
  struct Rule {
    EntityPath path;
    bool subtree;
    bool include;
    std::string text;
  };
  std::vector<Rule> rules_;  // most specific first
};

// Filters joined by "and": an entity is in view if every filter selects it. With no filter, everything but properties.
class ContentView {
 public:
  ContentView() = default;
  explicit ContentView(std::vector<ContentFilter> filters) : filters_(std::move(filters)) {}
  void Add(ContentFilter filter) { filters_.push_back(std::move(filter)); }
  bool Matches(const EntityPath& path) const;
  std::string ToString() const;

 private:
  std::vector<ContentFilter> filters_;
};

}  // namespace rushes
