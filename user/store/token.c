/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tokens of values that are on their way from elsewhere. A token is a record of the fetch that is
 * under way, not of the key's past: there are as many as fetches, and none stays behind. Whoever
 * changes a key, or means to though there is nothing to change, voids its tokens under the key's
 * lock; a token is taken, and the fetched value linked, under the same lock. So the change comes
 * before the token, and the fetch begins after it; or after the value was linked, and finds it; or
 * in between, and the value is not stored.
 *
 * A flush takes no key's lock. It moves the store's flush generation on, which a token remembers;
 * the value is linked with the flush's lock held, so none begins or ends in between.
 */
#include "store/impl.h"

static struct store_token **bucket_of(struct store *store, uint64_t hash)
{
	return &store->tokens.buckets[hash % TOKEN_BUCKETS];
}

void store_token_take(struct store_thread *t, struct store_token *token, struct span key,
		      uint64_t hash)
{
	struct store *store = t->store;
	struct store_token **bucket = bucket_of(store, hash);
	struct index_lock lock;

	*token = (struct store_token){ .key = key,
				       .hash = hash,
				       .flush_gen = atomic_load(&store->flush_gen) };
	lock = index_lock(&store->index, hash);
	pthread_mutex_lock(&store->tokens.lock);
	token->next = *bucket;
	*bucket = token;
	atomic_fetch_add(&store->tokens.cnt, 1);
	pthread_mutex_unlock(&store->tokens.lock);
	index_unlock(&lock);
}

void store_token_drop(struct store *store, struct store_token *token)
{
	struct store_token **at = bucket_of(store, token->hash);

	pthread_mutex_lock(&store->tokens.lock);
	while (*at != token)
		at = &(*at)->next;
	*at = token->next;
	atomic_fetch_sub(&store->tokens.cnt, 1);
	pthread_mutex_unlock(&store->tokens.lock);
}

bool store_token_is_void(const struct store *store, const struct store_token *token)
{
	return atomic_load(&token->is_void) || atomic_load(&store->flush_gen) != token->flush_gen;
}

void token_void_all(struct store *store, struct span key, uint64_t hash)
{
	pthread_mutex_lock(&store->tokens.lock);
	for (struct store_token *token = *bucket_of(store, hash); token; token = token->next) {
		if (token->hash == hash && span_equal(token->key, key))
			atomic_store(&token->is_void, true);
	}
	pthread_mutex_unlock(&store->tokens.lock);
}

void store_void_tokens(struct store *store, struct span prefix)
{
	pthread_mutex_lock(&store->tokens.lock);
	for (uint32_t i = 0; i < TOKEN_BUCKETS; i++) {
		for (struct store_token *token = store->tokens.buckets[i]; token;
		     token = token->next) {
			if (token->key.len >= prefix.len &&
			    (prefix.len == 0 ||
			     memcmp(token->key.ptr, prefix.ptr, prefix.len) == 0))
				atomic_store(&token->is_void, true);
		}
	}
	pthread_mutex_unlock(&store->tokens.lock);
}
