#include "rushes/chunk/content_filter.h"

#include <gtest/gtest.h>

namespace rushes {
namespace {

const char* const kEntities[] = {"/",           "/world",    "/world/car",    "/world/car/driver",
                                 "/world/cars", "/raw data", "/__properties", "/__properties/run"};

std::vector<std::string> InView(const ContentView& view) {
  std::vector<std::string> out;
  for (const char* entity : kEntities) {
    if (view.Matches(EntityPath::Parse(entity))) out.push_back(entity);
  }
  return out;
}

std::vector<std::string> InView(const std::vector<std::string>& expressions) { return InView(ContentView({ContentFilter(expressions)})); }

using Names = std::vector<std::string>;

TEST(ContentFilter, MostSpecificRuleWins) {
  EXPECT_EQ(InView({"/**"}), (Names{"/", "/world", "/world/car", "/world/car/driver", "/world/cars", "/raw data"}));
  EXPECT_EQ(InView(Names{}), Names{});
  EXPECT_EQ(InView({"/world/**"}), (Names{"/world", "/world/car", "/world/car/driver", "/world/cars"}));
  EXPECT_EQ(InView({"/world/*"}), Names{});
  EXPECT_EQ(InView({"world/car"}), Names{"/world/car"});
  EXPECT_EQ(InView({"/**", "-/world/**", "/world/car"}), (Names{"/", "/world/car", "/raw data"}));
  EXPECT_EQ(InView({"+ /world/** - /world/car/**"}), (Names{"/world", "/world/cars"}));
  EXPECT_EQ(InView({"/raw data"}), Names{});
  EXPECT_EQ(InView({"/raw\\ data"}), Names{"/raw data"});
  EXPECT_EQ(InView({"/world/ca**"}), Names{});
  EXPECT_EQ(InView({"-\n/world"}), Names{"/world"});
}

TEST(ContentFilter, OfContradictingRulesTheLastSignOrTheLaterTextWins) {
  EXPECT_EQ(InView({"/world/**", "-/world/**"}), Names{});
  EXPECT_EQ(InView({"-/world", "/world"}), Names{"/world"});
  EXPECT_EQ(InView({"-world/car/**", "/world/car/**"}), Names{});
  EXPECT_EQ(InView({"world/car/**", "-/world/car/**"}), (Names{"/world/car", "/world/car/driver"}));
}

TEST(ContentFilter, PropertiesAreOutUnlessAskedFor) {
  EXPECT_EQ(InView({"/__properties/**"}), (Names{"/__properties", "/__properties/run"}));
  EXPECT_EQ(InView({"/__properties"}), Names{"/__properties"});
  EXPECT_EQ(InView({"/world", "/__properties/run"}), (Names{"/world", "/__properties/run"}));
}

TEST(ContentView, ChainedFiltersIntersect) {
  EXPECT_EQ(InView(ContentView()), InView({"/**"}));
  ContentView view;
  view.Add(ContentFilter({"/world/**"}));
  view.Add(ContentFilter({"/**", "-/world/car/**"}));
  EXPECT_EQ(InView(view), (Names{"/world", "/world/cars"}));
  view.Add(ContentFilter(Names{}));
  EXPECT_EQ(InView(view), Names{});
  EXPECT_EQ(InView(ContentView({ContentFilter({"/**"}), ContentFilter({"/__properties/**"})})), Names{});
}

}  // namespace
}  // namespace rushes
