#include "rushes/catalog/task_list.h"

#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rushes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::vector<std::string> Ids(const std::vector<TaskInfo>& tasks) {
  std::vector<std::string> ids;
  for (const TaskInfo& task : tasks) ids.push_back(task.id);
  return ids;
}

TEST(TaskList, TasksGoFromPendingToTheirEnd) {
  TaskList tasks;
  const std::string id = tasks.Add("register", {});
  EXPECT_EQ(tasks.Query({id}).front().state, TaskState::kPending);
  EXPECT_TRUE(tasks.Start(id));
  EXPECT_EQ(tasks.Query({id}).front().state, TaskState::kRunning);
  tasks.End(id, {TaskState::kFailed, "no luck", {}, 0});
  const TaskInfo ended = tasks.Query({id}).front();
  EXPECT_EQ(ended.state, TaskState::kFailed);
  EXPECT_EQ(ended.message, "no luck");
  EXPECT_GE(ended.updated_at_ns, ended.created_at_ns);
  // Once is enough.
  tasks.End(id, {});
  EXPECT_EQ(tasks.Query({id}).front().state, TaskState::kFailed);
  EXPECT_FALSE(tasks.Start(id));
}

TEST(TaskList, AnswersInTheOrderOfTheQuestionAndTakesUnknownIdsForSuccesses) {
  TaskList tasks;
  const std::string failed = tasks.AddEnded("register", {TaskState::kFailed, "why", {}, 0});
  const auto answer = tasks.Query({"unknown", failed, "unknown"});
  EXPECT_THAT(Ids(answer), ElementsAre("unknown", failed, "unknown"));
  EXPECT_EQ(answer[0].state, TaskState::kSuccess);
  EXPECT_EQ(answer[1].state, TaskState::kFailed);
}

TEST(TaskList, CancelEndsWhatIsOpenUnlessItIsClaimed) {
  TaskList tasks;
  int cancelled = 0;
  const std::string open = tasks.Add("register", {{}, "seg", "base"}, [&] { ++cancelled; });
  const std::string claimed = tasks.Add("register", {}, [&] { ++cancelled; });
  const std::string ended = tasks.AddEnded("register", {});
  EXPECT_TRUE(tasks.Claim(claimed));
  tasks.Cancel({open, claimed, ended, "unknown"});
  tasks.Cancel({open});
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(tasks.Query({open}).front().state, TaskState::kCancelled);
  EXPECT_THAT(tasks.Query({open}).front().message, HasSubstr("\"seg\""));
  EXPECT_EQ(tasks.Query({claimed}).front().state, TaskState::kPending);
  EXPECT_EQ(tasks.Query({ended}).front().state, TaskState::kSuccess);
  EXPECT_FALSE(tasks.Claim(open));
  tasks.End(open, {});  // whoever worked on it hears nothing new
  EXPECT_EQ(tasks.Query({open}).front().state, TaskState::kCancelled);
}

TEST(TaskList, WatchersHearOfEachTaskOnce) {
  TaskList tasks;
  const std::string before = tasks.AddEnded("register", {});
  const std::string later = tasks.Add("register", {});
  std::vector<std::string> heard;
  auto handle = tasks.Watch({before, later, later, before}, [&](const TaskInfo& task) { heard.push_back(task.id); });
  EXPECT_THAT(heard, ElementsAre(before));
  tasks.End(later, {});
  EXPECT_THAT(heard, ElementsAre(before, later));
  const std::string never = tasks.Add("register", {});
  auto dropped = tasks.Watch({never}, [&](const TaskInfo& task) { heard.push_back(task.id); });
  dropped.reset();
  tasks.End(never, {});
  EXPECT_EQ(heard.size(), 2u);
}

TEST(TaskList, WaitGivesUpInTime) {
  TaskList tasks;
  const std::string open = tasks.Add("register", {});
  const auto take = [](const TaskInfo&) { return arrow::Status::OK(); };
  EXPECT_THAT(tasks.Wait({open}, 0.01, take).message(), HasSubstr("timeout"));
  EXPECT_THAT(tasks.Wait({open}, 0, take).message(), HasSubstr("timeout"));
  std::thread ending([&] { tasks.End(open, {}); });
  std::vector<std::string> heard;
  const arrow::Status status = tasks.Wait({open, "unknown"}, -1, [&](const TaskInfo& task) {
    heard.push_back(task.id);
    return arrow::Status::OK();
  });
  ending.join();
  EXPECT_TRUE(status.ok());
  EXPECT_THAT(heard, UnorderedElementsAre(open, "unknown"));
  EXPECT_EQ(tasks.Wait({open}, 1, [](const TaskInfo&) { return arrow::Status::Cancelled("enough"); }).message(), "enough");
}

TEST(TaskList, ForgetsTheOldestOfTooMany) {
  TaskList tasks(3);
  std::vector<std::string> failed;
  for (int i = 0; i < 5; ++i) failed.push_back(tasks.AddEnded("register", {TaskState::kFailed, "why", {}, 0}));
  for (int i = 0; i < 100; ++i) tasks.AddEnded("register", {});
  // Successes do not push failures out.
  const auto answer = tasks.Query(failed);
  EXPECT_EQ(answer[1].state, TaskState::kSuccess);
  EXPECT_EQ(answer[2].state, TaskState::kFailed);
  EXPECT_EQ(answer[4].state, TaskState::kFailed);
  EXPECT_EQ(tasks.QueryAll().size(), 6u);
  const std::string long_one = tasks.AddEnded("register", {TaskState::kFailed, std::string(1 << 20, 'x'), {}, 0});
  EXPECT_LT(tasks.Query({long_one}).front().message.size(), size_t{100} << 10);
}

TEST(TaskList, FindsOpenTasksByWhatTheyWorkOn) {
  TaskList tasks;
  const EntryId one = Tuid::New(), two = Tuid::New();
  const std::string a = tasks.Add("register", {one, "a", "base"});
  const std::string b = tasks.Add("register", {one, "b", "extra"});
  tasks.Add("register", {two, "a", "base"});
  EXPECT_THAT(tasks.FindOpen(one, {}, {}), UnorderedElementsAre(a, b));
  EXPECT_THAT(tasks.FindOpen(one, {"a"}, {}), ElementsAre(a));
  EXPECT_THAT(tasks.FindOpen(one, {}, {"extra"}), ElementsAre(b));
  EXPECT_TRUE(tasks.FindOpen(one, {"a"}, {"extra"}).empty());
  tasks.End(a, {});
  EXPECT_THAT(tasks.FindOpen(one, {}, {}), ElementsAre(b));
}

}  // namespace
}  // namespace rushes
