// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The rings. hv_vmbus keeps them and signals by VMBus's rules: the host on empty to non-empty with its mask clear,
 * and when room that it waits for appears. Here: when they may be touched, who waits for room, and polling.
 *
 * The host can write anything into them at any time, our own write index too, so that is compared with what it has to
 * be before each packet. From the inbound ring each packet's descriptor is read once into a copy, which is checked;
 * the payload is copied by request.c before anything in it counts.
 */
#include "trace.h"
#include "wc.h"

#define BUDGET 64u /* packets before others get this CPU */
#define MAX_PACKET 4096u /* the longest reply takes 3,152; the smallest ring holds 4,096 */
#define TRAILER 8u
#define SCORE_MAX 16
#define PAUSE_FIRST 64u /* calls */
#define PAUSE_MAX 16384u

/* ---- Taking packets ------------------------------------------------------------------------------------------------ */

/* Could an honest writer have written that index? */
static bool index_valid(const struct wc_device *device, u32 index)
{
	return index < device->ring_data && !(index & 7);
}

/* One packet: `packet` is the bus's copy, or until 5.14 the ring itself. False: it makes no sense. */
static bool take(struct wc_device *device, const struct vmpacket_descriptor *packet,
		 struct vmpacket_descriptor *copy)
{
	u32 length, offset;

	copy->type = READ_ONCE(packet->type);
	copy->offset8 = READ_ONCE(packet->offset8);
	copy->len8 = READ_ONCE(packet->len8);
	copy->flags = READ_ONCE(packet->flags);
	copy->trans_id = READ_ONCE(packet->trans_id);
	length = copy->len8 << 3;
	offset = copy->offset8 << 3;
	if (length < sizeof(*copy) || length > MAX_PACKET - TRAILER || offset < sizeof(*copy) ||
	    offset > length)
		return false;
	if (copy->type != VM_PKT_COMP ||
	    !wc_request_reply(device, copy->trans_id, (const u8 *)packet + offset, length - offset)) {
		spin_lock(&device->lock);
		device->count.bad_replies++;
		spin_unlock(&device->lock);
		trace_winapi_bad_reply(device->number, copy->trans_id, length - offset);
	}
	return true;
}

/* Nobody empties the ring any more, so the bus mustn't call again and again until it is empty. Under rx_lock. */
static void stop_reading(struct wc_device *device)
{
	device->rx_open = false;
	set_channel_read_mode(device->channel, HV_CALL_DIRECT);
}

/*
 * Takes what is there, up to a budget: a host that never stops sending can't keep the CPU, as the bus runs the
 * callback again for what is left. Under rx_lock, with the ring open.
 */
static void drain(struct wc_device *device)
{
	struct hv_ring_buffer_info *ring = &device->channel->inbound;
	struct vmpacket_descriptor *packet, copy;
	unsigned int taken = 0;

	if (!index_valid(device, READ_ONCE(ring->ring_buffer->write_index))) {
		stop_reading(device);
		wc_device_break(device, "the host's write index is nonsense");
		return;
	}
	for (packet = hv_pkt_iter_first(device->channel); packet && taken < BUDGET; taken++) {
		if (!take(device, packet, &copy)) {
			stop_reading(device);
			wc_device_break(device, "a packet of the host's contradicts itself");
			break;
		}
		/* By our copy's length: the host may have changed the ring's meanwhile. */
		packet = __hv_pkt_iter_next(device->channel, &copy);
	}
	if (taken)
		hv_pkt_iter_close(device->channel);
}

/* The bus masks the host's signals around this, and calls again while something is left. */
static void on_channel(void *context)
{
	struct wc_device *device = context;

	spin_lock_bh(&device->rx_lock);
	if (device->rx_open)
		drain(device);
	spin_unlock_bh(&device->rx_lock);
	if (READ_ONCE(device->tx_waiters))
		wake_up_all(&device->tx_wait);
}

/* ---- Open and close ---------------------------------------------------------------------------------------------- */

int wc_channel_open(struct wc_device *device)
{
	u32 size = PAGE_SIZE + (wc_ring_kib << 10);
	int err;

	device->ring_data = wc_ring_kib << 10;
	wc_set_max_packet(device->channel, MAX_PACKET);
	device->channel->rqstor_size = 0; /* ids are ours */
	set_channel_read_mode(device->channel, HV_CALL_BATCHED);
	wc_bus_lock(device);
	err = vmbus_open(device->channel, size, size, NULL, 0, on_channel, device);
	if (err)
		vmbus_close(device->channel); /* the bus would go on calling us, with the rings gone */
	mutex_unlock(&device->bus_lock);
	if (err)
		return err;
	spin_lock_bh(&device->rx_lock);
	device->rx_open = true;
	spin_unlock_bh(&device->rx_lock);
	spin_lock_bh(&device->tx_lock);
	device->tx_index = 0;
	device->tx_wanted = 0; /* of an earlier ring */
	device->tx_open = true;
	spin_unlock_bh(&device->tx_lock);
	return 0;
}

void wc_channel_stop(struct wc_device *device)
{
	spin_lock_bh(&device->tx_lock);
	device->tx_open = false;
	spin_unlock_bh(&device->tx_lock);
	spin_lock_bh(&device->rx_lock);
	stop_reading(device);
	spin_unlock_bh(&device->rx_lock);
	wake_up_all(&device->tx_wait);
}

bool wc_channel_close(struct wc_device *device)
{
	bool closed;

	wc_bus_lock(device);
	vmbus_close(device->channel); /* does no harm to one that isn't open */
	closed = !device->channel->ringbuffer_page;
	mutex_unlock(&device->bus_lock);
	return closed;
}

void wc_channel_forget(struct wc_device *device)
{
	spin_lock_bh(&device->tx_lock);
	device->signals_before += device->channel->sig_events;
	device->interrupts_before += device->channel->interrupts;
	device->channel = NULL;
	spin_unlock_bh(&device->tx_lock);
}

void wc_channel_counts(struct wc_device *device, u64 *signals, u64 *interrupts)
{
	spin_lock_bh(&device->tx_lock);
	*signals = device->signals_before + (device->channel ? READ_ONCE(device->channel->sig_events) : 0);
	*interrupts =
		device->interrupts_before + (device->channel ? READ_ONCE(device->channel->interrupts) : 0);
	spin_unlock_bh(&device->tx_lock);
}

/* ---- Sending -------------------------------------------------------------------------------------------------------- */

/* Bytes of a packet in the ring. */
static u32 packet_size(u32 message_size, u32 pfns)
{
	u32 head = pfns ? sizeof(struct vmbus_packet_mpb_array) + pfns * sizeof(u64) :
			  sizeof(struct vmpacket_descriptor);

	return head + ALIGN(message_size, 8) + TRAILER;
}

/* The largest packet, with its trailer: a byte of the ring always stays free, and lengths have 16 bits. */
static u32 largest_packet(const struct wc_device *device)
{
	return min_t(u32, device->ring_data - 1, U16_MAX * 8 + TRAILER);
}

u32 wc_channel_room_pfns(const struct wc_device *device, u32 message_size)
{
	u32 rest = packet_size(message_size, 1) - sizeof(u64), most = largest_packet(device);

	return most > rest ? (most - rest) / sizeof(u64) : 0;
}

/*
 * May a packet go? The bus takes both indices from the ring, where the host may have changed them: looked at before
 * each packet, which leaves a host the instant between this look and the bus's. Under tx_lock.
 */
static int check_outbound(struct wc_device *device)
{
	const struct hv_ring_buffer *ring;

	if (!device->tx_open)
		return -ENODEV;
	ring = device->channel->outbound.ring_buffer;
	if (READ_ONCE(ring->write_index) != device->tx_index)
		wc_device_break(device, "the host moved our write index");
	else if (!index_valid(device, READ_ONCE(ring->read_index)))
		wc_device_break(device, "the host's read index is nonsense");
	else
		return 0;
	return -ENODEV;
}

/*
 * What the bus's answer means. -ENODEV after the packet is in the ring: a rescind came in between, and the host may
 * have seen it, so it counts as sent and ends with the channel.
 */
static int took(struct wc_device *device, int err, u32 total)
{
	if (err == -ENODEV &&
	    READ_ONCE(device->channel->outbound.ring_buffer->write_index) != device->tx_index)
		err = 0;
	if (err == -EIO) { /* of newer buses: an index that is nonsense */
		wc_device_break(device, "the host spoilt the ring");
		err = -ENODEV;
	}
	if (!err)
		device->tx_index = (device->tx_index + total) % device->ring_data;
	return err;
}

/* Under tx_lock. -EAGAIN: no room now. */
static int put_packet(struct wc_device *device, struct wc_request *request, u32 size, u32 total)
{
	struct wc_pins *pins = request->pins;
	int err = check_outbound(device);

	if (err)
		return err;
	if (!pins || !pins->pfns)
		err = vmbus_sendpacket(device->channel, request->message, size, request->id,
				       VM_PKT_DATA_INBAND, VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED);
	else
		err = vmbus_sendpacket_mpb_desc(device->channel, pins->range,
						sizeof(*pins->range) + pins->pfns * sizeof(u64),
						request->message, size, request->id);
	return took(device, err, total);
}

static int try_send(struct wc_device *device, struct wc_request *request, u32 size, u32 total)
{
	int err;

	spin_lock_bh(&device->tx_lock);
	err = put_packet(device, request, size, total);
	spin_unlock_bh(&device->tx_lock);
	return err;
}

/*
 * Asks the host for a signal once the packet fits, then tries again: room that appeared before the host could see
 * the wish brings no signal.
 */
static int try_send_wishing(struct wc_device *device, struct wc_request *request, u32 size, u32 total)
{
	int err = READ_ONCE(request->doomed);

	if (err)
		return err;
	spin_lock_bh(&device->tx_lock);
	if (device->tx_open && device->tx_wanted < total) {
		device->tx_wanted = total;
		set_channel_pending_send_size(device->channel, total);
		virt_mb(); /* against the host's between its read index and its look at the wish */
	}
	err = put_packet(device, request, size, total);
	spin_unlock_bh(&device->tx_lock);
	return err;
}

static void begin_wishing(struct wc_device *device)
{
	spin_lock_bh(&device->tx_lock);
	device->tx_waiters++;
	spin_unlock_bh(&device->tx_lock);
}

static void end_wishing(struct wc_device *device)
{
	spin_lock_bh(&device->tx_lock);
	if (!--device->tx_waiters) {
		device->tx_wanted = 0;
		if (device->tx_open)
			set_channel_pending_send_size(device->channel, 0);
	}
	spin_unlock_bh(&device->tx_lock);
}

static int send_when_room(struct wc_device *device, struct wc_request *request, u32 size, u32 total,
			  enum wc_wait wait, u64 deadline_ns)
{
	int err;

	begin_wishing(device);
	err = wc_wait_for(&device->tx_wait, wait, deadline_ns,
			  (err = try_send_wishing(device, request, size, total)) != -EAGAIN, err);
	end_wishing(device);
	return err;
}

int wc_channel_send(struct wc_device *device, struct wc_request *request, u32 size, enum wc_wait wait,
		    u64 deadline_ns)
{
	u32 pfns = request->pins ? request->pins->pfns : 0;
	u32 total = packet_size(size, pfns);
	int err;

	if (total > largest_packet(device))
		return -EMSGSIZE;
	trace_winapi_send(device->number, request->id, request->sent.type, request->sent.api,
			  request->sent.method, size, pfns);
	err = try_send(device, request, size, total);
	if (err == -EAGAIN && wait != WC_NO_WAIT)
		err = send_when_room(device, request, size, total, wait, deadline_ns);
	return err;
}

bool wc_channel_send_cancel(struct wc_device *device, u64 id, u64 session_id, u64 request_id)
{
	struct {
		struct winapi_msg_header header;
		struct winapi_cancel_request body;
	} message = {
		.header = {
			.magic = WINAPI_MAGIC,
			.version = WINAPI_VERSION_1,
			.type = WINAPI_MSG_CANCEL,
			.request_id = id,
			.session_id = session_id,
			.inline_size = sizeof(message.body),
		},
		.body.request_id = request_id,
	};
	int err;

	spin_lock_bh(&device->tx_lock);
	err = check_outbound(device);
	if (!err)
		err = took(device,
			   vmbus_sendpacket(device->channel, &message, sizeof(message), id,
					    VM_PKT_DATA_INBAND, VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED),
			   packet_size(sizeof(message), 0));
	spin_unlock_bh(&device->tx_lock);
	return err != -EAGAIN;
}

/* ---- Polling -------------------------------------------------------------------------------------------------------- */

/*
 * A guest can't see whether its host has a CPU to answer on meanwhile. So it starts without polling, tries it
 * when replies come soon enough, and goes on only as long as that finds them more often than not.
 */
u64 wc_poll_plan(struct wc_device *device)
{
	struct wc_learning *l = &device->learning;
	u64 most = READ_ONCE(wc_poll_max_us) * 1000ull;
	u64 plan = 0;

	switch (READ_ONCE(wc_poll)) {
	case 0:
		return 0;
	case 1:
		break;
	default:
		return U64_MAX;
	}
	spin_lock_bh(&device->lock);
	if (l->pause)
		l->pause--;
	else if (l->reply_ns && 2ull * l->reply_ns <= most)
		plan = 2ull * l->reply_ns;
	spin_unlock_bh(&device->lock);
	return plan;
}

static void learn(struct wc_device *device, bool found)
{
	struct wc_learning *l = &device->learning;

	if (found) {
		l->score = min(l->score + 1, SCORE_MAX);
		if (l->score == SCORE_MAX)
			l->next_pause = PAUSE_FIRST;
	} else if (--l->score < 0) {
		l->score = 0;
		l->next_pause = clamp(l->next_pause, PAUSE_FIRST, PAUSE_MAX);
		l->pause = l->next_pause;
		l->next_pause *= 2;
	}
}

void wc_poll_begin(struct wc_device *device)
{
	spin_lock_bh(&device->rx_lock);
	if (!device->pollers++ && device->rx_open)
		hv_begin_read(&device->channel->inbound);
	spin_unlock_bh(&device->rx_lock);
}

/* What came between the last look and the mask's end brings no signal: the bus takes it. */
void wc_poll_end(struct wc_device *device)
{
	spin_lock_bh(&device->rx_lock);
	if (!--device->pollers && device->rx_open && hv_end_read(&device->channel->inbound)) {
		hv_begin_read(&device->channel->inbound);
		tasklet_schedule(&device->channel->callback_event);
	}
	spin_unlock_bh(&device->rx_lock);
}

static void look(struct wc_device *device)
{
	const struct hv_ring_buffer_info *ring;

	if (!spin_trylock_bh(&device->rx_lock))
		return; /* somebody else takes what is there */
	ring = &device->channel->inbound;
	if (device->rx_open && READ_ONCE(ring->ring_buffer->write_index) != ring->priv_read_index)
		drain(device);
	spin_unlock_bh(&device->rx_lock);
}

void wc_poll_for(struct wc_device *device, struct wc_request *request, u64 plan, u64 deadline_ns)
{
	u64 until = min(plan == U64_MAX ? U64_MAX : ktime_get_ns() + plan, deadline_ns);
	bool found = wc_request_over(request);

	while (!found && ktime_get_ns() < until && !fatal_signal_pending(current) && !freezing(current)) {
		look(device);
		found = wc_request_over(request);
		if (need_resched() && plan != U64_MAX)
			break;
		cond_resched();
		cpu_relax();
	}
	spin_lock_bh(&device->lock);
	if (plan != U64_MAX)
		learn(device, found);
	device->count.polled += found;
	spin_unlock_bh(&device->lock);
}
