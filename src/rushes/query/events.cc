#include "rushes/query/events.h"

#include <algorithm>
#include <cstring>
#include <queue>
#include <unordered_map>

namespace rushes {

bool CellOrder::Wins(CellRef a, CellRef b) const {
  const uint8_t* const id_a = row_ids_[CellSlot(a)] + CellRow(a) * 16;
  const uint8_t* const id_b = row_ids_[CellSlot(b)] + CellRow(b) * 16;
  if (const int order = std::memcmp(id_a, id_b, 16); order != 0) return order > 0;
  if (IsClear(a) != IsClear(b)) return IsClear(b);
  if (CellSlot(a) != CellSlot(b)) return CellSlot(a) < CellSlot(b);
  return CellRow(a) >= CellRow(b);
}

namespace {

Events Concatenate(std::vector<Events> inputs) {
  if (inputs.size() == 1) return std::move(inputs[0]);
  int64_t total = 0;
  for (const Events& input : inputs) total += input.size();
  std::vector<int64_t> times(static_cast<size_t>(total));
  std::vector<CellRef> cells(static_cast<size_t>(total));
  size_t at = 0;
  for (const Events& input : inputs) {
    const size_t n = input.times().size();
    if (n == 0) continue;
    std::memcpy(times.data() + at, input.times().data(), n * 8);
    if (input.is_run()) {
      const CellRef first = input.cell(0);
      for (size_t i = 0; i < n; ++i) cells[at + i] = first + static_cast<int64_t>(i);
    } else {
      std::memcpy(cells.data() + at, input.cells().data(), n * 8);
    }
    at += n;
  }
  return Events::Of(std::move(times), std::move(cells));
}

Events MergeTwo(const Events& a, const Events& b, const CellOrder& order) {
  std::vector<int64_t> times;
  std::vector<CellRef> cells;
  times.reserve(a.times().size() + b.times().size());
  cells.reserve(times.capacity());
  const int64_t na = a.size(), nb = b.size();
  int64_t i = 0, j = 0;
  while (i < na && j < nb) {
    const int64_t ta = a.times()[i], tb = b.times()[j];
    if (ta < tb) {
      times.push_back(ta);
      cells.push_back(a.cell(i++));
    } else if (tb < ta) {
      times.push_back(tb);
      cells.push_back(b.cell(j++));
    } else {
      const CellRef ca = a.cell(i++), cb = b.cell(j++);
      times.push_back(ta);
      cells.push_back(order.Wins(ca, cb) ? ca : cb);
    }
  }
  for (; i < na; ++i) times.push_back(a.times()[i]), cells.push_back(a.cell(i));
  for (; j < nb; ++j) times.push_back(b.times()[j]), cells.push_back(b.cell(j));
  return Events::Of(std::move(times), std::move(cells));
}

}  // namespace

Events MergeEvents(std::vector<Events> inputs, const CellOrder& order) {
  std::erase_if(inputs, [](const Events& input) { return input.empty(); });
  if (inputs.empty()) return Events();
  if (inputs.size() == 1) return std::move(inputs[0]);
  std::stable_sort(inputs.begin(), inputs.end(), [](const Events& a, const Events& b) { return a.times().front() < b.times().front(); });

  // Chains of inputs that follow each other; the chain that ended first is tried first.
  std::vector<std::vector<Events>> chains;
  using End = std::pair<int64_t, size_t>;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  for (Events& input : inputs) {
    const int64_t first = input.times().front(), last = input.times().back();
    if (!ends.empty() && ends.top().first < first) {
      const size_t chain = ends.top().second;
      ends.pop();
      chains[chain].push_back(std::move(input));
      ends.emplace(last, chain);
    } else {
      ends.emplace(last, chains.size());
      chains.emplace_back().push_back(std::move(input));
    }
  }

  std::vector<Events> merged;
  merged.reserve(chains.size() * 2);
  for (auto& chain : chains) merged.push_back(Concatenate(std::move(chain)));
  using Size = std::pair<int64_t, size_t>;
  std::priority_queue<Size, std::vector<Size>, std::greater<>> sizes;
  for (size_t i = 0; i < merged.size(); ++i) sizes.emplace(merged[i].size(), i);
  while (sizes.size() > 1) {
    const size_t a = sizes.top().second;
    sizes.pop();
    const size_t b = sizes.top().second;
    sizes.pop();
    Events both = MergeTwo(merged[a], merged[b], order);
    merged[a] = Events();
    merged[b] = Events();
    sizes.emplace(both.size(), merged.size());
    merged.push_back(std::move(both));
  }
  return std::move(merged[sizes.top().second]);
}

std::vector<int64_t> UniteTimes(std::vector<std::span<const int64_t>> arrays) {
  // Signals logged together have equal times.
  std::unordered_multimap<uint64_t, std::span<const int64_t>> seen;
  std::vector<std::span<const int64_t>> distinct;
  for (const auto& array : arrays) {
    if (array.empty()) continue;
    const uint64_t hash = (static_cast<uint64_t>(array.front()) * 31 + static_cast<uint64_t>(array.back())) * 31 +
                          static_cast<uint64_t>(array[array.size() / 2]) + array.size() * 0x9E3779B97F4A7C15ull;
    bool known = false;
    const auto [begin, end] = seen.equal_range(hash);
    for (auto it = begin; it != end && !known; ++it) {
      const auto& other = it->second;
      known = other.size() == array.size() &&
              (other.data() == array.data() || std::memcmp(other.data(), array.data(), array.size() * 8) == 0);
    }
    if (known) continue;
    seen.emplace(hash, array);
    distinct.push_back(array);
  }
  if (distinct.empty()) return {};
  if (distinct.size() == 1) return {distinct[0].begin(), distinct[0].end()};

  std::vector<std::vector<int64_t>> merged;
  using Size = std::pair<size_t, size_t>;
  std::priority_queue<Size, std::vector<Size>, std::greater<>> sizes;
  const auto span_of = [&](size_t i) { return i < distinct.size() ? distinct[i] : std::span<const int64_t>(merged[i - distinct.size()]); };
  merged.reserve(distinct.size());
  for (size_t i = 0; i < distinct.size(); ++i) sizes.emplace(distinct[i].size(), i);
  while (true) {
    const size_t a = sizes.top().second;
    sizes.pop();
    const size_t b = sizes.top().second;
    sizes.pop();
    const auto x = span_of(a), y = span_of(b);
    std::vector<int64_t> both(x.size() + y.size());
    size_t i = 0, j = 0, n = 0;
    // No branch depends on the data: interleaved signals would miss half of them.
    while (i < x.size() && j < y.size()) {
      const int64_t tx = x[i], ty = y[j];
      both[n++] = tx < ty ? tx : ty;
      i += tx <= ty;
      j += ty <= tx;
    }
    while (i < x.size()) both[n++] = x[i++];
    while (j < y.size()) both[n++] = y[j++];
    both.resize(n);
    if (sizes.empty()) return both;
    if (a >= distinct.size()) std::vector<int64_t>().swap(merged[a - distinct.size()]);
    if (b >= distinct.size()) std::vector<int64_t>().swap(merged[b - distinct.size()]);
    sizes.emplace(n, distinct.size() + merged.size());
    merged.push_back(std::move(both));
  }
}

}  // namespace rushes
