from itertools import pairwise

import pytest

from deploy.local.story import (
    FAULTS,
    NAMES,
    SCRIPT,
    SPACES,
    Chapter,
    Condition,
    Story,
    inhabitants,
    species_of,
)

MINUTE_S = 60 / Story().speed  # a shelter's minute
DAY_S = 24 * 60 * MINUTE_S


def told(story: Story, until_s: float) -> dict[str, list[Chapter]]:
    """Each space's chapters up to a time, looked at every second."""
    chapters: dict[str, list[Chapter]] = {space.id: [] for space in story.spaces}
    for second in range(int(until_s)):
        for space_id, seen in chapters.items():
            chapter = story.now(space_id, second)
            if not seen or seen[-1] != chapter:
                seen.append(chapter)
    return chapters


def test_the_shelter_has_eight_spaces_and_ten_cameras_two_of_them_with_two_sides() -> None:
    cameras = [camera for space in SPACES for camera in space.cameras]
    assert len(SPACES) == 8
    assert len(cameras) == len(set(cameras)) == 10
    assert sum(len(space.cameras) == 2 for space in SPACES) == 2
    assert {space.first for space in SPACES} == {"cat", "dog", "both", "none"}


def test_the_first_three_minutes_have_all_that_a_shelter_knows() -> None:
    story = Story()
    texts = [event.text for event in story.happened(-1, 180)]
    for part in ("arrives", "is adopted", "a visitor comes in", "goes dark", "freezes", "an hour ahead", "works again"):
        assert any(part in text for text in texts), part
    chapters = told(story, 180)
    assert any(
        {"cat", "dog"} <= {before.label, after.label} | species_of(after.label) and after.label == "both"
        for seen in chapters.values()
        for before, after in pairwise(seen)
    ), "a cat and a dog come together"
    assert any(seen[0].label == "none" and len(seen) > 1 for seen in chapters.values())
    hours = [story.hour(second) for second in range(180)]
    assert hours[0] == 17.0
    assert hours[-1] > 21.5, "day turns to night"


def test_an_empty_kennel_with_a_visitor_is_still_empty() -> None:
    story = Story()
    visited_s = [second for second in range(60) if story.visited("k3", second)]
    assert visited_s
    assert {story.now("k3", second).label for second in visited_s} == {"none"}
    assert inhabitants(story.now("k3", visited_s[0]), True) == "a visitor"
    assert inhabitants(story.now("k3", 0), False) == "nobody"


def test_after_the_script_each_space_changes_in_its_turn_and_never_to_what_it_was() -> None:
    for seen in told(Story(), DAY_S).values():
        assert len(seen) > 3
        assert all(first.label != second.label for first, second in pairwise(seen))


def test_the_same_seed_tells_the_same_story_whoever_asks_first() -> None:
    one, other = Story(seed=4), Story(seed=4)
    late = {space.id: one.now(space.id, 500) for space in reversed(SPACES)}
    told(other, 501)
    assert {space_id: other.now(space_id, 500) for space_id in late} == late
    assert one.happened(-1, 500) == other.happened(-1, 500)
    assert told(Story(seed=5), 501) != told(Story(seed=4), 501)


def test_at_twice_the_speed_the_same_happens_in_half_the_time() -> None:
    slow, fast = Story(speed=50), Story(speed=100)
    life, twice = slow.happened(-1, 401), fast.happened(-1, 200.5)
    assert [event.text for event in life] == [event.text for event in twice]
    assert [event.at_s / 2 for event in life] == pytest.approx([event.at_s for event in twice])
    assert slow.hour(100) == fast.hour(50)


def test_only_labels_with_photos_occur() -> None:
    chapters = told(Story(labels=["none", "dog"]), 400)
    assert {chapter.label for seen in chapters.values() for chapter in seen} == {"none", "dog"}
    assert {len(seen) for seen in told(Story(labels=["cat"]), 400).values()} == {1}
    with pytest.raises(ValueError, match="at least one label"):
        Story(labels=[])


def test_who_stays_keeps_its_coat_and_a_chapter_says_whether_somebody_left() -> None:
    for labels in (("cat", "dog", "none", "both"), ("cat", "dog")):
        for seen in told(Story(labels=labels), 600).values():
            assert not seen[0].somebody_left
            for before, after in pairwise(seen):
                stayed = species_of(before.label) & species_of(after.label)
                assert (before.seed == after.seed) == bool(stayed)
                assert after.somebody_left == bool(species_of(before.label) - species_of(after.label))


def test_an_animal_that_leaves_a_space_for_adoption_is_adopted() -> None:
    events = {event.space_id: event for event in Story().happened(-1, 63 * MINUTE_S) if "adopted" in event.text}
    assert events["k1"].adopted == ("dog",)
    assert SCRIPT[1][1:] == ("k1", "none")
    assert not any(event.adopted for event in Story().happened(-1, DAY_S) if event.space_id == "quarantine")


def test_neighbours_have_different_names() -> None:
    story = Story()
    first = [inhabitants(story.now(space.id, 0), False) for space in SPACES]
    named = [name.split(" the ")[0] for who in first if who != "nobody" for name in who.split(" and ")]
    assert len(named) == len(set(named)) == 7
    assert {len(names) for names in NAMES.values()} == {9}


def test_a_camera_fails_at_its_hours_of_every_day_and_a_space_is_blind_if_none_sees() -> None:
    story = Story()
    for camera, since, until, what in FAULTS:
        for day in (0, 1):
            inside_s = day * DAY_S + (since + until) / 2 * MINUTE_S
            assert story.condition(camera, inside_s) is what
    assert story.condition("k5-front", 0) is Condition.WELL
    spaces = {space.id: space for space in SPACES}
    assert story.blind(spaces["k5"], 100 * MINUTE_S)
    assert not story.blind(spaces["room"], 100 * MINUTE_S), "its other camera sees"
    assert not story.blind(spaces["cattery"], 100 * MINUTE_S), "a wrong clock blinds nobody"


def test_both_cameras_of_a_space_have_the_same_before_them_at_the_same_time() -> None:
    story = Story()
    front, back = (story.shot(camera, 90.3, 1) for camera in ("k4-front", "k4-back"))
    assert front == back
    assert story.shot("k4-front", 90.3 + 30, 1).pose != front.pose


def test_spaces_take_turns_at_moving_so_that_not_all_is_drawn_anew_at_once() -> None:
    story = Story()
    moments = [second / 2 for second in range(2, 120)]
    for before, after in pairwise(moments):
        shots = [[story.shot(space.cameras[0], at, 0) for at in (before, after)] for space in SPACES]
        moved = [one for one, other in shots if one.chapter is other.chapter and one.pose != other.pose]
        assert len(moved) <= 1
