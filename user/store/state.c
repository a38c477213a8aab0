/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a graceful stop leaves beside the log, so that the next start need not look at every item.
 *
 *   header    what the store knew; a copy of the log's own page; sums of the two parts below
 *   records   one for each segment in use, oldest first: what its struct segment held, and a sum
 *             over its bytes
 *   index     buckets and overflow buckets as they were
 *
 * It is trusted once: the log's page counts how often the log was opened, and a state that was
 * saved under another count is nobody's. The header is written last, so that a half-written state
 * has none.
 *
 * All sums hold: the index is taken as it is. A segment's does not: that segment is dropped whole
 * and the index is rebuilt from the others (restart.c), which takes longer and finds the large
 * values that lost a piece, too. Anything else: the index is rebuilt from the log alone, by each
 * item's own check. 64-bit sums here, 24-bit checks there.
 */
#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/impl.h"

#define STATE_MAGIC 0x4554415453434458ULL /* "XDCSTATE" */
#define STATE_VERSION 4
/* Summing is bound by memory; more than this many do not make it faster. */
#define SUM_THREADS 4
#define SUM_THREAD_BYTES (8ULL << 20) /* worth a thread of its own */

struct state_header {
	uint64_t magic;
	uint32_t version;
	uint32_t record_cnt;
	uint64_t state_bytes; /* header, records and index */
	struct segment_super super;
	uint64_t seq;
	int64_t item_cnt;
	int64_t item_bytes;
	int64_t key_value_bytes;
	uint64_t hash_secret[STORE_SECRET_WORDS];
	uint64_t index_item_cnt;
	uint32_t bucket_cnt;
	uint32_t overflow_used;
	uint32_t overflow_free;
	uint32_t overflow_free_cnt;
	struct evict_state evict; /* what the uses in the index and the queues mean */
	uint64_t saved_ns;	  /* boot time */
	uint64_t saved_wall_ns;	  /* for whoever looks at it */
	uint64_t records_sum;
	uint64_t index_sum;
	uint64_t sum; /* of all before it */
};

struct state_record {
	uint64_t seq;
	uint64_t sum;
	uint32_t idx;
	uint32_t used;
	uint32_t live_bytes;
	uint32_t expire_max_ds;
	uint8_t state; /* SEALED, CHAIN or BLOCKS */
	uint8_t queue;
	uint8_t sealed_early;
	uint8_t era;
	uint32_t block_map;
};

_Static_assert(sizeof(struct state_record) == 40, "no hidden padding: it is summed");

struct state {
	struct state_header header;
	struct state_record *records;
};

static uint64_t header_sum(const struct state_header *header)
{
	return XXH3_64bits(header, offsetof(struct state_header, sum));
}

static uint64_t records_bytes(const struct state_header *header)
{
	return header->record_cnt * sizeof(struct state_record);
}

/* --- sums of segments, by several threads --- */

struct sums {
	const struct segment_pool *pool;
	struct state_record *records;
	uint32_t record_cnt;
	_Atomic uint32_t next;
	bool checking;
	_Atomic uint32_t damaged_cnt;
};

/* The place is the seed: the right bytes at another place are wrong. */
static uint64_t segment_sum(const struct segment_pool *pool, const struct state_record *record)
{
	/* Of pieces all that may be one's. */
	uint32_t len = record->state == SEGMENT_SEALED ? record->used : segment_bytes(pool);

	return XXH3_64bits_withSeed(segment_header(pool, record->idx), len, record->idx);
}

static void *sum_segments(void *arg)
{
	struct sums *sums = arg;
	uint32_t i;

	while ((i = atomic_fetch_add(&sums->next, 1)) < sums->record_cnt) {
		struct state_record *record = &sums->records[i];
		uint64_t sum = segment_sum(sums->pool, record);

		if (!sums->checking) {
			record->sum = sum;
		} else if (sum != record->sum) {
			sums->pool->segments[record->idx].damaged = true;
			atomic_fetch_add(&sums->damaged_cnt, 1);
		}
	}
	return NULL;
}

static void sum_all(struct sums *sums)
{
	uint64_t bytes = (uint64_t)sums->record_cnt << sums->pool->shift;
	pthread_t threads[SUM_THREADS - 1];
	uint32_t cnt = 0;

	while (cnt < SUM_THREADS - 1 && cnt < bytes / SUM_THREAD_BYTES &&
	       pthread_create(&threads[cnt], NULL, sum_segments, sums) == 0)
		cnt++;
	sum_segments(sums);
	while (cnt > 0)
		pthread_join(threads[--cnt], NULL);
}

/* --- bytes --- */

static int write_all(int fd, const void *from, uint64_t len, uint64_t offset)
{
	const uint8_t *bytes = from;

	while (len > 0) {
		ssize_t n = pwrite(fd, bytes, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int read_all(int fd, void *to, uint64_t len, uint64_t offset)
{
	uint8_t *bytes = to;

	while (len > 0) {
		ssize_t n = pread(fd, bytes, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		bytes += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* --- the index --- */

static int save_index(struct index *index, const struct state_header *header, int fd,
		      uint64_t offset)
{
	uint64_t bytes = (uint64_t)header->bucket_cnt * sizeof(struct index_bucket);
	int err = write_all(fd, index->buckets, bytes, offset);

	if (err)
		return err;
	return write_all(fd, index->overflow,
			 (uint64_t)header->overflow_used * sizeof(struct index_bucket),
			 offset + bytes);
}

static uint64_t index_sum(const struct index *index, const struct state_header *header)
{
	uint64_t sum =
		XXH3_64bits(index->buckets, header->bucket_cnt * sizeof(struct index_bucket));

	return XXH3_64bits_withSeed(index->overflow,
				    header->overflow_used * sizeof(struct index_bucket), sum);
}

struct index_reading {
	struct index *index;
	const struct state_header *header;
	int fd;
	uint64_t offset;
	int err;
};

static void *read_index(void *arg)
{
	struct index_reading *r = arg;
	uint64_t bytes = (uint64_t)r->header->bucket_cnt * sizeof(struct index_bucket);

	r->err = read_all(r->fd, r->index->buckets, bytes, r->offset);
	if (!r->err)
		r->err = read_all(r->fd, r->index->overflow,
				  (uint64_t)r->header->overflow_used * sizeof(struct index_bucket),
				  r->offset + bytes);
	if (!r->err && index_sum(r->index, r->header) != r->header->index_sum)
		r->err = -EBADMSG;
	return NULL;
}

/* --- saving --- */

static void note_record(struct store *store, struct state *state, uint32_t idx)
{
	const struct segment *seg = &store->pool.segments[idx];

	state->records[state->header.record_cnt++] = (struct state_record){
		.seq = segment_seq(seg),
		.idx = idx,
		.used = seg->used,
		.live_bytes = atomic_load(&seg->live_bytes),
		.expire_max_ds = atomic_load(&seg->expire_max_ds),
		.state = (uint8_t)segment_state(seg),
		.queue = seg->queue,
		.sealed_early = seg->sealed_early,
		.era = seg->era,
		.block_map = seg->block_map,
	};
}

/* Buried chains wait for readers that are gone now. */
static void release_buried(struct store *store)
{
	chain_release_all(store, store->dead_chains);
	chain_release_moved(store, store->moved_pieces);
	store->dead_chains = store->moved_pieces = PIECE_NONE;
	store->dead_blocks = 0;
}

static void note_segments(struct store *store, struct state *state)
{
	for (uint32_t q = 0; q < SEGMENT_QUEUES; q++) {
		for (uint32_t idx = store->pool.queues[q].head; idx != SEGMENT_NONE;
		     idx = store->pool.segments[idx].next)
			note_record(store, state, idx);
	}
	for (uint32_t idx = 1; idx < store->pool.cnt; idx++) {
		enum segment_state at = segment_state(&store->pool.segments[idx]);

		if (at == SEGMENT_CHAIN || at == SEGMENT_BLOCKS)
			note_record(store, state, idx);
	}
}

static void fill_header(struct store *store, struct state_header *header)
{
	const struct clock *clock = store->options.clock;
	struct store_counts counts;

	store_counts(store, &counts);
	header->magic = STATE_MAGIC;
	header->version = STATE_VERSION;
	header->super = *segment_super(&store->pool);
	header->seq = store->pool.seq;
	header->item_cnt = (int64_t)counts.item_cnt;
	header->item_bytes = (int64_t)counts.item_bytes;
	header->key_value_bytes = (int64_t)counts.key_value_bytes;
	memcpy(header->hash_secret, store->hash_secret, sizeof(header->hash_secret));
	header->index_item_cnt = atomic_load(&store->index.item_cnt);
	header->bucket_cnt = atomic_load(&store->index.bucket_cnt);
	header->overflow_used = atomic_load(&store->index.overflow_used);
	header->overflow_free = store->index.overflow_free;
	header->overflow_free_cnt = store->index.overflow_free_cnt;
	evict_save(&store->evict, &header->evict);
	header->saved_ns = clock_now_ns(clock);
	header->saved_wall_ns = clock_wall_ns(clock);
	header->records_sum = 0;
	header->state_bytes = sizeof(*header) + records_bytes(header) + index_bytes(&store->index);
}

static int write_state(struct store *store, struct state *state, const struct store_state *to)
{
	struct state_header *header = &state->header;
	uint64_t records_at = to->offset + sizeof(*header);
	int err;

	header->records_sum = XXH3_64bits(state->records, records_bytes(header));
	header->index_sum = index_sum(&store->index, header);
	header->sum = header_sum(header);
	err = write_all(to->fd, state->records, records_bytes(header), records_at);
	if (!err)
		err = save_index(&store->index, header, to->fd, records_at + records_bytes(header));
	if (!err)
		err = write_all(to->fd, header, sizeof(*header), to->offset);
	return err;
}

int store_save(struct store *store, const struct store_state *to)
{
	struct state state = { 0 };
	struct sums sums = { .pool = &store->pool };
	uint64_t start_ns = clock_mono_ns();
	int err;

	store_reclaim_stop(store);
	store_seal_open(&store->threads[store->options.thread_max], true);
	release_buried(store);
	state.records = alloc_zero(store->pool.cnt, sizeof(*state.records));
	if (!state.records)
		return -ENOMEM;
	/* Whatever was there goes first: a longer one's end must not stay behind this one. */
	if (ftruncate(to->fd, (off_t)to->offset)) {
		err = -errno;
		goto out;
	}
	note_segments(store, &state);
	fill_header(store, &state.header);
	sums.records = state.records;
	sums.record_cnt = state.header.record_cnt;
	sum_all(&sums);
	err = write_state(store, &state, to);
out:
	if (err)
		log_line(LOG_WARN, "store",
			 "cannot save the state: %s; the next start rebuilds it from the log",
			 strerror(-err));
	else
		log_line(LOG_INFO, "store", "saved the state: items=%lld bytes=%llu ms=%llu",
			 (long long)state.header.item_cnt,
			 (unsigned long long)state.header.state_bytes,
			 (unsigned long long)((clock_mono_ns() - start_ns) / NSEC_PER_MSEC));
	alloc_free(state.records);
	return err;
}

/* --- loading --- */

/* Why the state cannot be used; NULL: it can. */
static const char *judge_header(const struct store *store, const struct store_state *from,
				const struct state_header *header)
{
	off_t end = lseek(from->fd, 0, SEEK_END);

	if (header->magic != STATE_MAGIC)
		return "it is none";
	if (header->version != STATE_VERSION)
		return "another version wrote it";
	if (header->sum != header_sum(header))
		return "its header is damaged";
	if (memcmp(&header->super, segment_super(&store->pool), sizeof(header->super)) != 0)
		return "the log was opened since, or its first page is damaged";
	if (end < 0 || (uint64_t)end != from->offset + header->state_bytes)
		return "it is cut short";
	if (header->record_cnt >= store->pool.cnt ||
	    header->state_bytes != sizeof(*header) + records_bytes(header) +
					   ((uint64_t)header->bucket_cnt + header->overflow_used) *
						   sizeof(struct index_bucket))
		return "its parts do not add up";
	if (header->bucket_cnt > store->index.bucket_max ||
	    header->overflow_used > store->index.overflow_max)
		return "its index is larger than this one may be";
	return NULL;
}

static const char *judge_records(const struct store *store, const struct state *state)
{
	if (XXH3_64bits(state->records, records_bytes(&state->header)) != state->header.records_sum)
		return "its segment records are damaged";
	for (uint32_t i = 0; i < state->header.record_cnt; i++) {
		const struct state_record *record = &state->records[i];

		if (record->idx == 0 || record->idx >= store->pool.cnt ||
		    record->used < sizeof(struct segment_header) ||
		    record->used > segment_bytes(&store->pool) || record->queue >= SEGMENT_QUEUES ||
		    (record->state != SEGMENT_SEALED && record->state != SEGMENT_CHAIN &&
		     record->state != SEGMENT_BLOCKS))
			return "its segment records make no sense";
	}
	return NULL;
}

/* Sums the segments while another thread reads the index. */
static const char *prove(struct store *store, const struct store_state *from, struct state *state)
{
	struct sums sums = { .pool = &store->pool,
			     .records = state->records,
			     .record_cnt = state->header.record_cnt,
			     .checking = true };
	struct index_reading reading = { .index = &store->index,
					 .header = &state->header,
					 .fd = from->fd,
					 .offset = from->offset + sizeof(state->header) +
						   records_bytes(&state->header) };
	pthread_t reader;
	bool apart = (uint64_t)state->header.record_cnt << store->pool.shift >= SUM_THREAD_BYTES &&
		     pthread_create(&reader, NULL, read_index, &reading) == 0;

	if (!apart)
		read_index(&reading);
	sum_all(&sums);
	if (apart)
		pthread_join(reader, NULL);
	if (sums.damaged_cnt > 0) {
		log_line(LOG_WARN, "store", "damaged segments are dropped: %u of %u",
			 sums.damaged_cnt, state->header.record_cnt);
		return "some segments are damaged";
	}
	if (reading.err)
		return reading.err == -EBADMSG ? "its index is damaged" : strerror(-reading.err);
	return NULL;
}

static void take_over(struct store *store, struct store_thread *t, const struct state *state)
{
	const struct state_header *header = &state->header;
	struct index *index = &store->index;
	bool same_policy = evict_load(&store->evict, &header->evict);

	memcpy(store->hash_secret, header->hash_secret, sizeof(store->hash_secret));
	for (uint32_t i = 0; i < header->record_cnt; i++) {
		const struct state_record *record = &state->records[i];
		struct segment *seg = &store->pool.segments[record->idx];

		seg->used = record->used;
		seg->queue = same_policy ? record->queue : 0;
		seg->era = same_policy ? record->era : 0;
		seg->sealed_early = record->sealed_early;
		atomic_store(&seg->live_bytes, record->live_bytes);
		atomic_store(&seg->expire_max_ds, record->expire_max_ds);
		atomic_store(&seg->seq, record->seq);
		if (record->state == SEGMENT_CHAIN)
			atomic_store(&seg->state, SEGMENT_CHAIN);
		else if (record->state == SEGMENT_BLOCKS)
			segment_adopt_blocks(&store->pool, record->idx, record->block_map);
		else
			segment_seal(&store->pool, record->idx);
		if (record->seq <= atomic_load(&store->flush_seq))
			atomic_store(&store->flush_pending, true);
	}
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		if (segment_state(&store->pool.segments[i]) == SEGMENT_FREE)
			segment_release(&store->pool, i);
	}
	atomic_store(&index->bucket_cnt, header->bucket_cnt);
	atomic_store(&index->overflow_used, header->overflow_used);
	index->overflow_free = header->overflow_free;
	index->overflow_free_cnt = header->overflow_free_cnt;
	atomic_store(&index->item_cnt, header->index_item_cnt);
	if (!same_policy)
		index_forget_use(index);
	atomic_store(&t->tally.item_cnt, header->item_cnt);
	atomic_store(&t->tally.item_bytes, header->item_bytes);
	atomic_store(&t->tally.key_value_bytes, header->key_value_bytes);
	store->recovered_cnt = (uint64_t)header->item_cnt;
}

/* What was read of an index that is not taken. */
static void forget_index(struct index *index, const struct state_header *header)
{
	memset(index->buckets, 0, header->bucket_cnt * sizeof(struct index_bucket));
	memset(index->overflow, 0, header->overflow_used * sizeof(struct index_bucket));
}

static const char *load(struct store *store, struct store_thread *t, struct state *state)
{
	const struct store_state *from = store->options.state;
	struct state_header *header = &state->header;
	const char *why;

	if (read_all(from->fd, header, sizeof(*header), from->offset))
		return "it is cut short";
	why = judge_header(store, from, header);
	if (why)
		return why;
	state->records = alloc_zero(header->record_cnt + 1ULL, sizeof(*state->records));
	if (!state->records)
		return strerror(ENOMEM);
	if (read_all(from->fd, state->records, records_bytes(header),
		     from->offset + sizeof(*header)))
		return "it is cut short";
	why = judge_records(store, state);
	if (why)
		return why;
	/* Also where the segments are read one by one: numbers are never used twice. */
	store->pool.seq = header->seq;
	why = prove(store, from, state);
	if (why) {
		forget_index(&store->index, header);
		return why;
	}
	take_over(store, t, state);
	return NULL;
}

bool store_load(struct store *store, struct store_thread *t)
{
	struct state state = { 0 };
	uint64_t start_ns = clock_mono_ns();
	const struct store_state *from = store->options.state;
	const char *why;

	/* Nothing was left: the last process did not end by its own will. */
	if (lseek(from->fd, 0, SEEK_END) <= (off_t)from->offset)
		return false;
	why = load(store, t, &state);
	alloc_free(state.records);
	if (why)
		log_line(LOG_WARN, "store",
			 "the state of the last stop is not used: %s; rebuilding from the log",
			 why);
	else
		log_line(LOG_INFO, "store", "took over the last stop's state: items=%llu ms=%llu",
			 (unsigned long long)store->recovered_cnt,
			 (unsigned long long)((clock_mono_ns() - start_ns) / NSEC_PER_MSEC));
	return why == NULL;
}
